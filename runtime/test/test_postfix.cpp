// The size code: Python's division, and no silent overflow.
#include "check.h"
#include "image_builder.h"
#include "postfix.h"

using namespace sod2;

namespace {

// The value of `a op b`; `status` says whether there is one.
int64_t apply(Op op, int64_t a, int64_t b, sod2_status *status) {
  ImageBuilder builder;
  builder.kernels = 0;
  int64_t x = builder.symbol("a", 0, 0), y = builder.symbol("b", 0, 1),
          z = builder.binary(op, x, y);
  builder.inputs = {{"x", {x, y}}};
  std::vector<int64_t> words = builder.words();
  Image image;
  CHECK(read_image(words.data(), words.size(), &image, nullptr) == SOD2_OK);
  std::vector<int64_t> values(static_cast<size_t>(image.values)), stack(8);
  values[0] = a;
  values[1] = b;
  *status = evaluate(image, values.data(), stack.data(), nullptr);
  return values[static_cast<size_t>(z)];
}

int64_t value(Op op, int64_t a, int64_t b) {
  sod2_status status;
  int64_t result = apply(op, a, b, &status);
  CHECK(status == SOD2_OK);
  return result;
}

bool overflows(Op op, int64_t a, int64_t b) {
  sod2_status status;
  apply(op, a, b, &status);
  return status == SOD2_OVERFLOW;
}

} // namespace

int main() {
  CHECK(value(Op::Add, 3, 4) == 7 && value(Op::Sub, 3, 4) == -1 && value(Op::Mul, -3, 4) == -12);
  CHECK(value(Op::Min, -3, 4) == -3 && value(Op::Max, -3, 4) == 4);
  for (int64_t a = -9; a <= 9; ++a)
    for (int64_t b = -4; b <= 4; ++b) {
      int64_t q = value(Op::FloorDiv, a, b), r = value(Op::Mod, a, b);
      if (b == 0)
        CHECK(q == 0 && r == 0); // of empty arrays, so nobody uses it
      else
        CHECK(q * b + r == a && (r == 0 || (r < 0) == (b < 0)) && r < (b > 0 ? b : -b) &&
              r > (b > 0 ? -b : b));
    }
  const int64_t most = INT64_MAX, least = INT64_MIN;
  CHECK(overflows(Op::Add, most, 1) && overflows(Op::Sub, least, 1) && overflows(Op::Mul, most, 2));
  CHECK(overflows(Op::FloorDiv, least, -1) && value(Op::Mod, least, -1) == 0);
  CHECK(value(Op::FloorDiv, least, 1) == least && value(Op::Add, most, 0) == most);
  CHECK(holds(Compare::Eq, 1, 1) && !holds(Compare::Ne, 1, 1) && holds(Compare::Le, 1, 1) &&
        !holds(Compare::Lt, 1, 1));
  return 0;
}
