// How a running program calls Python:
//  * the hook has taken the GIL, whether the run had released it or not;
//  * operands are views of the runtime's memory, read only; results are checked and copied;
//  * what is raised stays this thread's error while the run ends, and so reaches the caller as it
//  is.
#include "hosts.h"

#include "host_arrays.h"

#include <string>

namespace nb = nanobind;

namespace sod2py {
namespace {

bool copy_results(PyObject *results, const char *name, const sod2_host_array *writes, size_t n) {
  if (!PyList_Check(results) && !PyTuple_Check(results)) {
    PyErr_Format(PyExc_TypeError, "%s must return a list or a tuple of %zu arrays, not %s", name, n,
                 Py_TYPE(results)->tp_name);
    return false;
  }
  Py_ssize_t given = PySequence_Fast_GET_SIZE(results);
  if (given != static_cast<Py_ssize_t>(n)) {
    PyErr_Format(PyExc_ValueError, "%s must return %zu arrays, and returned %zd", name, n, given);
    return false;
  }
  for (size_t i = 0; i < n; ++i) {
    std::string what = std::string(name) + ": result " + std::to_string(i);
    // A new reference: converting one result may run code that changes the list.
    nb::object result = nb::borrow(PySequence_Fast_GET_ITEM(results, static_cast<Py_ssize_t>(i)));
    if (!copy_from(result.ptr(), writes[i], what.c_str()))
      return false;
    if (PySequence_Fast_GET_SIZE(results) != given) {
      PyErr_Format(PyExc_RuntimeError, "%s changed its results while they were read", name);
      return false;
    }
  }
  return true;
}

} // namespace

sod2_status call_host(nb::handle function, const sod2_host_array *reads, size_t n_reads,
                      const sod2_host_array *writes, size_t n_writes) {
  const char *name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(function.ptr(), 0));
  nb::object arguments = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(n_reads)));
  if (!name || !arguments.is_valid())
    return SOD2_HOST;
  for (size_t i = 0; i < n_reads; ++i) {
    PyObject *array = view_of_memory(reads[i]);
    if (!array)
      return SOD2_HOST;
    PyTuple_SET_ITEM(arguments.ptr(), static_cast<Py_ssize_t>(i), array);
  }
  nb::object results =
      nb::steal(PyObject_CallObject(PyTuple_GET_ITEM(function.ptr(), 1), arguments.ptr()));
  return results.is_valid() && copy_results(results.ptr(), name, writes, n_writes) ? SOD2_OK
                                                                                   : SOD2_HOST;
}

} // namespace sod2py
