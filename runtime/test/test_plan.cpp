// Plans: solving symbols, shapes, guards and their words, slots that leave their buffer.
#include "check.h"
#include "error.h"
#include "image_builder.h"
#include "plan.h"

#include <cstring>

using namespace sod2;

namespace {

sod2_status plan_for(const std::vector<int64_t> &words, std::vector<int64_t> dims,
                     sod2_error *error, std::unique_ptr<sod2_plan> *plan) {
  Image image;
  CHECK(read_image(words.data(), words.size(), &image, error) == SOD2_OK);
  CHECK(static_cast<int64_t>(dims.size()) == image.dims);
  return make_plan(image, dims.data(), plan, error);
}

} // namespace

int main() {
  sod2_error error = {};
  std::unique_ptr<sod2_plan> plan;
  std::vector<int64_t> words = axpy_image();
  CHECK(plan_for(words, {3, 5, 5}, &error, &plan) == SOD2_OK);
  CHECK(plan->info.arena_bytes == 60 && plan->info.output_bytes == 60 &&
        plan->info.cached_bytes == 20);
  CHECK(plan->info.scratch_bytes == 20 && plan->output_dims[0][1] == 5 && plan->info.work == 30);
  CHECK(plan_for(words, {0, 0, 0}, &error, &plan) == SOD2_OK && plan->info.arena_bytes == 0);

  CHECK(plan_for(words, {3, 5, 6}, &error, &plan) == SOD2_MISFIT);
  CHECK(std::strstr(error.message, "axis 0 of w has size 6, compiled for v1 = 5"));
  CHECK(plan_for(words, {3, 13, 13}, &error, &plan) == SOD2_MISFIT);
  CHECK(std::strstr(error.message, "13 against 13 (model.py:7)"));
  CHECK(plan_for(words, {3, 1000001, 1000001}, &error, &plan) == SOD2_MISFIT);
  CHECK(std::strstr(error.message, "m = 1000001"));
  CHECK(plan_for(words, {(1 << 20) + 1, 2, 2}, &error, &plan) == SOD2_CONTRACT);
  CHECK(std::strstr(error.message, "n is 1048577, allowed are 1048576"));
  CHECK(plan_for(words, {INT64_MAX / 4, 5, 5}, &error, &plan) == SOD2_OVERFLOW);

  {                                        // words that are too long end with a whole character
    char text[] = "a\xc3\xbc\xe2\x82\xac"; // a, u umlaut, euro
    for (size_t n = 6; n > 0; --n) {
      text[n] = 0;
      drop_partial_character(text);
      CHECK(std::strlen(text) == (n == 6 ? 6 : n >= 3 ? 3 : 1));
    }
  }
  { // 2*k + 1, exactly
    ImageBuilder b;
    b.kernels = 0;
    int64_t k = b.symbol("k", 0, 0, 2, 1), two = b.constant(2), one = b.constant(1);
    b.inputs = {{"x", {b.binary(Op::Add, b.times(two, k), one)}}};
    CHECK(plan_for(b.words(), {7}, &error, &plan) == SOD2_OK && plan->values[0] == 3);
    CHECK(plan_for(b.words(), {8}, &error, &plan) == SOD2_MISFIT);
    CHECK(plan_for(b.words(), {0}, &error, &plan) == SOD2_MISFIT); // k would be negative
  }
  { // an output of negative size, and slots outside of their buffers
    ImageBuilder b;
    b.kernels = 0;
    int64_t n = b.symbol("n", 0, 0), four = b.constant(4), less = b.binary(Op::Sub, n, four);
    b.inputs = {{"x", {n}}};
    b.slots = {{SlotKind::Output, 0, b.constant(0), kNone}};
    b.output({less}, 0);
    CHECK(plan_for(b.words(), {4}, &error, &plan) == SOD2_OK);
    CHECK(plan_for(b.words(), {3}, &error, &plan) == SOD2_CHECK &&
          std::strstr(error.message, "negative size"));
    b.slots[0].bytes = b.constant(100); // room for whole vectors past the end
    CHECK(plan_for(b.words(), {4}, &error, &plan) == SOD2_OK && plan->output_bytes[0] == 100);
    b.slots.push_back({SlotKind::Arena, 0, four, four});
    b.arena = b.constant(8);
    CHECK(plan_for(b.words(), {4}, &error, &plan) == SOD2_BAD_IMAGE); // misaligned
    b.slots[1].offset = b.constant(64);
    CHECK(plan_for(b.words(), {4}, &error, &plan) == SOD2_BAD_IMAGE); // past the end
    b.arena = b.constant(68);
    CHECK(plan_for(b.words(), {4}, &error, &plan) == SOD2_OK);
    b.slots.push_back({SlotKind::Input, 0, b.constant(17), kNone});
    CHECK(plan_for(b.words(), {4}, &error, &plan) == SOD2_BAD_IMAGE);
  }
  return 0;
}
