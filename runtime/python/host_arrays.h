#pragma once
#include "jax_names.h"

#include "sod2rt.h"

// NumPy's arrays, by its C interface. No other file includes its headers.
namespace sod2py {

bool init_numpy(); // false: error set

enum class Host { Viewed, Other, Error };
struct HostView {
  const void *data;
  int64_t dtype, rank;
  const int64_t *dims;
};
// Viewed: `object` is an ndarray whose elements lie in order, in a dtype that JAX would not change.
Host view_host_array(PyObject *object, HostView *view);
// A NumPy scalar as an array of rank 0 (new reference); null without error if it is none.
PyObject *array_of_scalar(PyObject *object);

// The address of an ndarray's elements.
const void *data_of_array(PyObject *array);

// An ndarray over a block of the output pool, which goes back when the array dies. Takes the block,
// even if it fails.
PyObject *host_array_of_block(void *block, const int64_t *dims, int64_t rank, PyObject *dtype);

// A read-only ndarray over memory of the runtime, and a copy into such memory from a value that
// must have its shape and dtype (`what` names it in the error). Null, false: error set.
PyObject *view_of_memory(const sod2_host_array &array);
bool copy_from(PyObject *value, const sod2_host_array &array, const char *what);

bool x64_enabled();

} // namespace sod2py
