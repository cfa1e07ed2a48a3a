#pragma once
#include <Python.h>

#include "sod2rt.h"
#include <nanobind/nanobind.h>

// What the call path needs of JAX. Private names come in from Python (sod2jax/compat.py is the only
// file that knows them), once.
namespace sod2py {

struct JaxNames {
  bool ready = false;
  PyObject *leaf_types;            // the types that no registry of pytrees knows, for sure
  PyObject *is_foreign;            // array -> whether others may write to its memory
  PyObject *array_type;            // the one concrete class of jax.Array
  PyObject *tracer_type;           //
  PyObject *flatten;               // tree -> (leaves, treedef), with the registry of jax.jit
  PyObject *unsafe_buffer_pointer; // methods of array_type, unbound
  PyObject *is_deleted;
  PyObject *block_until_ready;
  PyObject *numpy_view;        // array -> (ndarray over its memory, which it keeps, ...)
  PyObject *transfer_guard;    // its `value` is the level for transfers to the device, or None
  PyObject *delete_array;
  PyObject *check_if_deleted;  // raises JAX's own words
  PyObject *array_from_dlpack; // (capsule, device, stream, copy) -> jax.Array
  PyObject *result_handler;    // (aval, sharding, committed) -> (array -> array with that aval)
  PyObject
      *put_array; // (aval, sharding, arrays, devices, committed, copy, semantics, x64) -> jax.Array
  PyObject *zero_copy;         // the semantics that share memory
  PyObject *devices;           // [device]
  PyObject *make_aval;         // (shape, dtype code, weak_type) -> aval
  PyObject *dtype_code;        // dtype -> code
  PyObject *dtype_name;        // code -> "float32"
  PyObject *is_local;          // sharding -> whether its arrays are one buffer of the CPU
  PyObject *is_row_major;      // array -> bool, for arrays whose layout was chosen by someone
  PyObject *device, *sharding; // where outputs live
  PyObject *trace_context;     // () -> tuple: what a trace depends on
  PyObject *trace_state,
      *top_trace;        // `trace_state.value` is top_trace outside of all transformations
  PyObject *enable_x64;  // its `value` is the flag
  PyObject *scalar_info; // Python scalar -> (dtype code, weak_type)
  PyObject *dtype_of;    // code -> NumPy dtype
  PyObject *debug_nans, *debug_infs; // `value`: whether `check_result` is to be called
  PyObject *check_result;            // (function, args, kwargs, result) -> None
  Py_ssize_t disable_jit;            // where `trace_context()` says whether jax.disable_jit() holds
  PyObject *as_array;    // anything array-like -> a jax.Array on the CPU
  PyObject *shape_error, *guard_error, *memory_error, *runtime_error;
};

extern JaxNames jax;

struct Names { // interned attribute names
  PyObject *aval, *sharding, *committed, *value, *unflatten;
};
extern Names names;

void setup(nanobind::kwargs given);
void need_setup(); // raises if `setup` was not called

inline PyObject *call(PyObject *function, PyObject *argument) {
  return PyObject_CallOneArg(function, argument);
}

// The Python exception of a failed status; the error indicator is set.
void raise_status(const sod2_error &error);

} // namespace sod2py
