#pragma once
#include "image.h"

namespace sod2 {

// Runs the size code: `values` come with the symbols filled in. Overflow stops it; nothing divided
// by zero is ever used (some array is empty then), so it yields 0.
sod2_status evaluate(const Image &image, int64_t *values, int64_t *stack, sod2_error *error);

bool holds(Compare compare, int64_t left, int64_t right);
bool checked_add(int64_t a, int64_t b, int64_t *sum); // false: overflow
bool checked_mul(int64_t a, int64_t b, int64_t *product);

} // namespace sod2
