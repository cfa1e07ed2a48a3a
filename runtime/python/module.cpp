// sod2jax._runtime: the C++ runtime for Python. Import sod2jax.binding instead, which sets it up.
#include "function.h"
#include "host_arrays.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace nb::literals;
using sod2py::Key;
using sod2py::Program;
using sod2py::Version;

namespace {

int program_traverse(PyObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  if (nb::inst_ready(self)) {
    auto *program = nb::inst_ptr<Program>(self);
    Py_VISIT(program->keepalive.ptr());
    Py_VISIT(program->hosts.ptr());
  }
  return 0;
}

int program_clear(PyObject *self) {
  if (nb::inst_ready(self))
    nb::inst_ptr<Program>(self)->keepalive.reset();
  return 0;
}

int version_traverse(PyObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  if (nb::inst_ready(self)) {
    auto *version = nb::inst_ptr<Version>(self);
    Py_VISIT(version->program_object.ptr());
    Py_VISIT(version->tag.ptr());
    Py_VISIT(version->key.statics.ptr());
  }
  return 0;
}

int version_clear(PyObject *self) {
  if (nb::inst_ready(self))
    nb::inst_ptr<Version>(self)->tag.reset();
  return 0;
}

PyType_Slot version_slots[] = {{Py_tp_traverse, reinterpret_cast<void *>(version_traverse)},
                               {Py_tp_clear, reinterpret_cast<void *>(version_clear)},
                               {0, nullptr}};

PyType_Slot program_slots[] = {{Py_tp_traverse, reinterpret_cast<void *>(program_traverse)},
                               {Py_tp_clear, reinterpret_cast<void *>(program_clear)},
                               {0, nullptr}};

} // namespace

NB_MODULE(_runtime, m) {
  // Functions at module level live until the process ends, and so do the types that they use: no
  // leak worth a warning.
  nb::set_leak_warnings(false);
  if (!sod2py::init_numpy())
    throw nb::python_error();
  m.doc() = "The C++ runtime of sod2jax; import sod2jax.binding instead.";
  m.def("setup", &sod2py::setup, "Hands the names of JAX in, once per process.");
  m.def("threads", &sod2_threads, "Number of threads that run a program, the caller's included.");
  m.def("set_threads", &sod2_set_threads, "count"_a,
        "Sets it; 0 restores the default (SOD2_NUM_THREADS, or the CPUs).");

  m.def("set_most_avals", &sod2py::set_most_avals, "count"_a,
        "How many shapes of arguments are remembered before all are forgotten.");
  m.def(
      "library_kernel",
      [](const char *name) { return reinterpret_cast<uintptr_t>(sod2_library_kernel(name)); },
      "name"_a, "The address of a kernel that the runtime brings along; 0: there is none.");

  nb::class_<Program>(m, "Program", nb::type_slots(program_slots), nb::is_weak_referenceable())
      .def(nb::init<nb::bytes, const std::vector<uintptr_t> &, nb::list, nb::object, nb::list,
                    bool>(),
           "image"_a, "kernels"_a, "constants"_a, "keepalive"_a = nb::none(),
           "hosts"_a = nb::list(), "poison"_a = false)
      .def("bind", &Program::bind, "shapes"_a,
           "Every size at these input shapes, or the guards that fail.")
      .def("run", &Program::run, "arrays"_a, "Runs once, without any cache of the call path.")
      .def("profile", &Program::profile, "arrays"_a, "repeats"_a = 1,
           "(source, best ns) of each step.")
      .def("stats", &Program::stats)
      .def_prop_ro("inputs", &Program::inputs, "(path, dtype, rank) of each input.")
      .def_prop_ro("outputs", &Program::outputs);

  nb::class_<Key>(m, "Key")
      .def(nb::init<nb::object, nb::object, nb::list, std::vector<int64_t>, nb::object,
                    nb::object>(),
           "in_tree"_a, "statics"_a, "dtypes"_a, "ranks"_a, "weak_types"_a.none(),
           "context"_a = nb::none(),
           "What a version is looked up by, apart from sizes; None: not compared.")
      .def_ro("in_tree", &Key::in_tree)
      .def_ro("statics", &Key::statics)
      .def_ro("context", &Key::context)
      .def_ro("leaves", &Key::leaves, "The jax.Arrays of the call that it was made for, or None.")
      .def_prop_ro("dtypes", [](const Key &key) { return key.dtypes; })
      .def_prop_ro("ranks", [](const Key &key) { return key.ranks; })
      .def_prop_ro("weak_types", [](const Key &key) {
        return key.weak_given ? nb::cast(key.weak_types) : nb::none();
      });

  nb::class_<Version>(m, "Version", nb::type_slots(version_slots), nb::is_weak_referenceable())
      .def(nb::init<nb::object, const Key &, std::vector<int64_t>, nb::object, std::vector<bool>,
                    std::vector<int64_t>, std::vector<std::string>, nb::object,
                    std::optional<std::vector<int64_t>>>(),
           "program"_a, "key"_a, nb::kw_only(), "kept"_a, "out_tree"_a, "out_weak_types"_a,
           "donated"_a = std::vector<int64_t>(), "paths"_a = std::vector<std::string>(),
           "tag"_a = nb::none(), "read"_a = nb::none(),
           "A compiled program, and how a call maps to it: the leaf of each input (of those in "
           "`read`, more than the shape), and the tree of its results.")
      .def_ro("program", &Version::program_object)
      .def_ro("key", &Version::key)
      .def_ro("hits", &Version::hits, "Calls that it served.")
      .def_ro("tag", &Version::tag);

  sod2py::define_function(m);
}
