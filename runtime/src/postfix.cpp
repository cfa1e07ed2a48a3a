#include "postfix.h"

#include "error.h"

namespace sod2 {
namespace {

bool checked_sub(int64_t a, int64_t b, int64_t *difference) {
  return !__builtin_sub_overflow(a, b, difference);
}

// Python's: the quotient is rounded down, the remainder has the sign of the divisor. INT64_MIN / -1
// overflows.
bool floor_div(int64_t a, int64_t b, int64_t *quotient) {
  if (b == 0 || b == -1) {
    *quotient = 0;
    return b == 0 || checked_sub(0, a, quotient);
  }
  *quotient = a / b - (a % b != 0 && (a < 0) != (b < 0));
  return true;
}

int64_t floor_mod(int64_t a, int64_t b) {
  if (b == 0 || b == -1)
    return 0;
  int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

} // namespace

bool checked_add(int64_t a, int64_t b, int64_t *sum) { return !__builtin_add_overflow(a, b, sum); }
bool checked_mul(int64_t a, int64_t b, int64_t *p) { return !__builtin_mul_overflow(a, b, p); }

bool holds(Compare compare, int64_t left, int64_t right) {
  switch (compare) {
  case Compare::Eq:
    return left == right;
  case Compare::Ne:
    return left != right;
  case Compare::Le:
    return left <= right;
  case Compare::Lt:
    return left < right;
  }
  return false;
}

sod2_status evaluate(const Image &image, int64_t *values, int64_t *stack, sod2_error *error) {
  int64_t *top = stack; // one past the topmost
  for (const Instruction &i : image.code) {
    bool fits = true;
    if (i.op == Op::Const) {
      *top++ = i.operand;
      continue;
    }
    if (i.op == Op::Value) {
      *top++ = values[i.operand];
      continue;
    }
    int64_t b = *--top;
    if (i.op == Op::Store) {
      values[i.operand] = b;
      continue;
    }
    int64_t a = top[-1], *to = top - 1;
    switch (i.op) {
    case Op::Add:
      fits = checked_add(a, b, to);
      break;
    case Op::Sub:
      fits = checked_sub(a, b, to);
      break;
    case Op::Mul:
      fits = checked_mul(a, b, to);
      break;
    case Op::FloorDiv:
      fits = floor_div(a, b, to);
      break;
    case Op::Mod:
      *to = floor_mod(a, b);
      break;
    case Op::Min:
      *to = a < b ? a : b;
      break;
    default:
      *to = a < b ? b : a;
    }
    if (!fits)
      return fail(error, SOD2_OVERFLOW, "a size of this call does not fit into 63 bits");
  }
  return SOD2_OK;
}

} // namespace sod2
