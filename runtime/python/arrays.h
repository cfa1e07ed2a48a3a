#pragma once
#include "jax_names.h"

#include "sod2rt.h"

#include <vector>

// Outputs as jax.Arrays over our own memory, without a copy.
namespace sod2py {

// A block of the output pool for `bytes`, before anything is known of the array; null: no memory,
// error set.
void *take_block(int64_t bytes);
void drop_block(void *block);

// Large outputs whose arrays are alive, by the address of their data. A pinned one stays, whoever
// drops its array; `claim` hands it over, as `take_block` does, if nobody else holds it any more
// and it has room, and `unpin` drops it.
bool pin_block(const void *data); // false: no such block
bool claim_block(const void *data, int64_t bytes);
void unpin_block(const void *data);

// What outputs of one shape share; made once per shape.
struct OutputKind {
  std::vector<int64_t> dims;
  int64_t dtype = 0, bytes = 0;
  nanobind::object aval, numpy_dtype;
  nanobind::object
      handlers[2]; // of JAX: uncommitted, committed; only where arrays come from DLPack
};
OutputKind make_output_kind(const int64_t *dims, int64_t rank, int64_t dtype, int64_t bytes,
                            bool weak_type);

// A jax.Array of that memory, as jax.jit would return it. The block goes back to the pool when the
// last holder is gone; it is taken even if this fails.
PyObject *array_of_block(void *block, OutputKind *kind, bool committed);

} // namespace sod2py
