#pragma once
#include "jax_names.h"

#include "sod2rt.h"

#include <vector>

// Outputs as jax.Arrays over our own memory, without a copy.
namespace sod2py {

// A block of the output pool for `bytes`, before anything is known of the array; null: no memory, error set.
void *take_block(int64_t bytes);
void drop_block(void *block);

// A committed jax.Array of that memory, which goes back to the pool when the last holder is gone. Takes the block, even if it fails.
PyObject *array_of_block(void *block, const int64_t *dims, int64_t rank, int64_t dtype);

// Makes of such an array the one that a call returns: with this aval and `committed` as jax.jit would have it.
nanobind::object make_handler(const int64_t *dims, int64_t rank, int64_t dtype, bool weak_type, bool committed);

} // namespace sod2py
