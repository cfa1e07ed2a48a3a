// sod2jax._runtime: the C++ runtime for Python. Import sod2jax.binding instead, which sets it up.
#include "program.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace nb::literals;
using sod2py::Program;

namespace {

int program_traverse(PyObject *self, visitproc visit, void *arg) {
#if PY_VERSION_HEX >= 0x03090000
  Py_VISIT(Py_TYPE(self));
#endif
  if (nb::inst_ready(self))
    Py_VISIT(nb::inst_ptr<Program>(self)->keepalive.ptr());
  return 0;
}

int program_clear(PyObject *self) {
  if (nb::inst_ready(self))
    nb::inst_ptr<Program>(self)->keepalive.reset();
  return 0;
}

PyType_Slot program_slots[] = {{Py_tp_traverse, reinterpret_cast<void *>(program_traverse)},
                               {Py_tp_clear, reinterpret_cast<void *>(program_clear)},
                               {0, nullptr}};

} // namespace

NB_MODULE(_runtime, m) {
  m.doc() = "The C++ runtime of sod2jax; import sod2jax.binding instead.";
  m.def("setup", &sod2py::setup, "Hands the names of JAX in, once per process.");
  m.def("threads", &sod2_threads, "Number of threads that run a program, the caller's included.");
  m.def("set_threads", &sod2_set_threads, "count"_a, "Sets it; 0 restores the default (SOD2_NUM_THREADS, or the CPUs).");

  nb::class_<Program>(m, "Program", nb::type_slots(program_slots), nb::is_weak_referenceable())
      .def(nb::init<nb::bytes, const std::vector<uintptr_t> &, nb::list, nb::object>(), "image"_a, "kernels"_a, "constants"_a,
           "keepalive"_a = nb::none())
      .def("bind", &Program::bind, "shapes"_a, "Every size at these input shapes, or the guards that fail.")
      .def("run", &Program::run, "arrays"_a, "Runs once, without any cache of the call path.")
      .def("profile", &Program::profile, "arrays"_a, "repeats"_a = 1, "(source, best ns) of each step.")
      .def("stats", &Program::stats)
      .def_prop_ro("inputs", &Program::inputs, "(path, dtype, rank) of each input.")
      .def_prop_ro("outputs", &Program::outputs);
}
