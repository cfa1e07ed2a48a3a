#pragma once
#include "sod2rt_more.h"

// Kernels that are written here instead of being generated. They are called as generated ones are:
// buffers are the operands, then the results; each call does iterations `begin` to `end`.
namespace sod2 {

// buffers: from, to; no sizes; an iteration is a byte.
void copy_bytes(void **buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch);

} // namespace sod2
