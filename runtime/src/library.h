#pragma once
#include "sod2rt_more.h"

// Kernels that are written here instead of being generated. They are called as generated ones are:
// buffers are the operands, then the results; each call does iterations `begin` to `end`.
namespace sod2 {

// buffers: from, to, which may be one; no sizes; an iteration is a byte.
void copy_bytes(void **buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch);

// The stable ascending order of rows. buffers: keys (unsigned, the first one counts most),
// positions (int32). sizes: row length, distance between neighbours of a row, how many positions
// are wanted, number of keys, the bytes of an element of each. An iteration is a row; rows of one
// block lie side by side if the distance is not 1. scratch: see `sort_order` in
// sod2jax/ops/order.py.
void sort_order(void **buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch);

} // namespace sod2
