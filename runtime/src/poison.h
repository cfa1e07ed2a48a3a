#pragma once
#include "executor.h"

namespace sod2 {

// Fills memory that holds nothing with a pattern, so that a read of it shows: an arena slot before
// its life begins and when its life ends, outputs and scratch before they are written. As floats of
// 16 and 32 bits the pattern is a NaN, as a double or an integer far from everything.
class Poison {
public:
  explicit Poison(const Image &image);

  void begin(const Executable &e, const sod2_plan &plan, const sod2_input *inputs,
             void *const *outputs, const Context &context) const;
  void before(int64_t position, const sod2_plan &plan, const Context &context) const;
  void after(int64_t position, const sod2_plan &plan, const Context &context) const;

private:
  using Slots = std::vector<int64_t>;

  void fill_apart(const Slots &slots, const Slots &others, const sod2_plan &plan,
                  const Context &context) const;

  const Image &image_;
  std::vector<Slots> born_, last_, dead_; // of each position; dead: to be filled after it
};

} // namespace sod2
