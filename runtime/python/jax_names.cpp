#include "jax_names.h"

#include "sod2rt.h"

namespace nb = nanobind;

namespace sod2py {

JaxNames jax;
Names names;

void setup(nb::kwargs given) {
  struct Row {
    const char *name;
    PyObject **to;
  };
  const Row rows[] = {
      {"array_type", &jax.array_type},
      {"tracer_type", &jax.tracer_type},
      {"flatten", &jax.flatten},
      {"unsafe_buffer_pointer", &jax.unsafe_buffer_pointer},
      {"is_deleted", &jax.is_deleted},
      {"block_until_ready", &jax.block_until_ready},
      {"numpy_view", &jax.numpy_view},
      {"transfer_guard", &jax.transfer_guard},
      {"leaf_types", &jax.leaf_types},
      {"is_foreign", &jax.is_foreign},
      {"delete_array", &jax.delete_array},
      {"check_if_deleted", &jax.check_if_deleted},
      {"array_from_dlpack", &jax.array_from_dlpack},
      {"result_handler", &jax.result_handler},
      {"put_array", &jax.put_array},
      {"zero_copy", &jax.zero_copy},
      {"devices", &jax.devices},
      {"enable_x64", &jax.enable_x64},
      {"scalar_info", &jax.scalar_info},
      {"dtype_of", &jax.dtype_of},
      {"make_aval", &jax.make_aval},
      {"dtype_code", &jax.dtype_code},
      {"dtype_name", &jax.dtype_name},
      {"is_local", &jax.is_local},
      {"is_row_major", &jax.is_row_major},
      {"device", &jax.device},
      {"sharding", &jax.sharding},
      {"trace_context", &jax.trace_context},
      {"trace_state", &jax.trace_state},
      {"top_trace", &jax.top_trace},
      {"debug_nans", &jax.debug_nans},
      {"debug_infs", &jax.debug_infs},
      {"check_result", &jax.check_result},
      {"as_array", &jax.as_array},
      {"shape_error", &jax.shape_error},
      {"guard_error", &jax.guard_error},
      {"memory_error", &jax.memory_error},
      {"runtime_error", &jax.runtime_error},
  };
  for (const Row &row : rows) {
    if (!given.contains(row.name))
      throw nb::type_error((std::string("setup lacks ") + row.name).c_str());
    // Kept for the life of the process, like the module itself.
    *row.to = nb::object(given[row.name]).release().ptr();
  }
  jax.disable_jit = nb::cast<Py_ssize_t>(given["disable_jit"]);
  names = {PyUnicode_InternFromString("aval"), PyUnicode_InternFromString("_sharding"),
           PyUnicode_InternFromString("_committed"), PyUnicode_InternFromString("value"),
           PyUnicode_InternFromString("unflatten")};
  jax.ready = true;
}

void need_setup() {
  if (!jax.ready)
    throw nb::import_error("import sod2jax.binding, not sod2jax._runtime");
}

void raise_status(const sod2_error &error) {
  if (PyErr_Occurred()) // a hook's: a host function raised, or the user interrupted the call
    return;
  PyObject *type = PyExc_RuntimeError;
  switch (error.status) {
  case SOD2_CONTRACT:
  case SOD2_MISFIT:
    type = jax.shape_error;
    break;
  case SOD2_CHECK:
    type = jax.guard_error;
    break;
  case SOD2_NO_MEMORY:
    type = jax.memory_error;
    break;
  case SOD2_OVERFLOW:
    type = PyExc_OverflowError;
    break;
  case SOD2_BAD_IMAGE:
  case SOD2_BAD_ARGUMENT:
    type = PyExc_ValueError;
    break;
  default:
    break;
  }
  PyErr_SetString(type, error.message);
}

} // namespace sod2py
