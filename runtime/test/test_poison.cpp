// Memory that holds nothing is filled: an arena slot before its life and after it, in loops too;
// what a step writes in place, and what lives, is left alone.
#include "check.h"
#include "image_builder.h"

#include <cmath>
#include <cstring>

using namespace sod2;

namespace {

float seen[8];
int looks;

void look(void **b, const int64_t *, int64_t, int64_t, void *) { // what lies in the first buffer
  seen[looks++ % 8] = *static_cast<const float *>(b[0]);
}
void put(void **b, const int64_t *sizes, int64_t, int64_t, void *) {
  *static_cast<float *>(b[0]) = static_cast<float>(sizes[0]);
}
const sod2_kernel kernels[] = {look, put};

// Two slots, the lives of which the test chooses; the second one lies where it says.
struct Sample : ImageBuilder {
  int64_t n = symbol("n", 0, 0), zero = constant(0), one = constant(1), line = constant(64),
          four = constant(4);

  Sample(int64_t first, int64_t last, int64_t other_first, int64_t other_last, bool shared) {
    inputs = {{"x", {n}}};
    slots = {{SlotKind::Arena, 0, four, zero, first, last},
             {SlotKind::Arena, 1, four, shared ? zero : line, other_first, other_last}};
    arena = constant(128);
    ImageBuilder::kernels = 2;
    looks = 0;
  }
  void look_at(int64_t slot) { step({0, {slot}, {}, one, one, zero}); }
  void put_in(int64_t slot, int64_t value) { step({1, {slot}, {value}, one, one, zero}); }

  void run(int poison) {
    sod2_hooks hooks = {};
    hooks.poison = poison;
    std::vector<int64_t> image = words();
    sod2_program *program = nullptr;
    sod2_plan *plan = nullptr;
    sod2_error error = {};
    int64_t dims[] = {1};
    float x = 0;
    sod2_input input = {&x, 0};
    CHECK(!sod2_program_create(image.data(), image.size(), ::kernels, 2, nullptr, 0, 0, &hooks,
                               &program, &error));
    CHECK(!sod2_plan_acquire(program, dims, 1, &plan, &error));
    CHECK(!sod2_run(program, plan, &input, nullptr, nullptr, &error));
    sod2_plan_release(plan);
    sod2_program_destroy(program);
  }
};

} // namespace

int main() {
  { // before its life, during it, and after it
    Sample s(1, 2, 9, 9, false);
    s.look_at(0), s.put_in(0, s.four), s.look_at(0), s.look_at(0);
    s.run(1);
    CHECK(std::isnan(seen[0]) && seen[1] == 4 && std::isnan(seen[2]));
  }
  { // nothing is filled where nobody asks for it
    Sample s(0, 1, 9, 9, false);
    s.put_in(0, s.four), s.look_at(0), s.look_at(0);
    s.run(0);
    CHECK(seen[0] == 4 && seen[1] == 4);
  }
  { // a life that holds a loop ends with the loop, one inside of it with each iteration
    Sample s(0, 3, 2, 3, false);
    s.put_in(0, s.four);
    s.loop(s.four, kNone, kNone, {}, {0, 2});
    s.look_at(1), s.put_in(1, s.four);
    s.look_at(0);
    s.look_at(0);
    s.run(1);
    CHECK(std::isnan(seen[0]) && std::isnan(seen[1]) && std::isnan(seen[3]));
    CHECK(std::isnan(seen[4]));
  }
  { // the same, seen from within
    Sample s(0, 2, 9, 9, false);
    s.put_in(0, s.four);
    s.loop(s.four, kNone, kNone, {}, {0, 1});
    s.look_at(0);
    s.run(1);
    CHECK(looks == 4 && seen[0] == 4 && seen[3] == 4);
  }
  { // in place: the one ends where the other begins
    Sample s(0, 1, 1, 2, true);
    s.put_in(0, s.four), s.look_at(0), s.look_at(1);
    s.run(1);
    CHECK(seen[0] == 4 && seen[1] == 4);
  }
  { // a branch ends what is made in one of its lists, and used in no other
    Sample s(0, 3, 0, 1, false);
    s.put_in(1, s.zero), s.branch(1, 4, {1, 1}), s.put_in(0, s.four), s.look_at(0), s.look_at(0);
    s.run(1);
    CHECK(looks == 1 && std::isnan(seen[0]));
  }
  return 0;
}
