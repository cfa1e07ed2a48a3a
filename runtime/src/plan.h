#pragma once
#include "image.h"

#include <atomic>
#include <memory>

struct sod2_plan {
  std::atomic<int64_t> references{1};
  std::vector<int64_t> dims; // of the inputs: what the plan was made for
  uint64_t hash = 0;
  uint64_t last_used = 0;
  std::vector<int64_t> values;
  struct Call {
    int64_t extent, work;
    int64_t first_size; // of `sizes`
  };
  std::vector<Call> calls;             // of kernels
  std::vector<int64_t> sizes;          // of all calls, one after the other
  std::vector<sod2_host_array> arrays; // of all host calls, without their data
  std::vector<int64_t> array_dims;
  std::vector<int64_t> work; // of each step, with what it holds
  std::vector<std::vector<int64_t>> output_dims;
  std::vector<int64_t> output_bytes;
  std::vector<int64_t> input_bytes;
  sod2_plan_info info = {};
};

namespace sod2 {

uint64_t hash_dims(const int64_t *dims, size_t count);

// Solves the symbols from the input dims, checks shapes, guards and slots, and evaluates every
// size.
sod2_status make_plan(const Image &image, const int64_t *dims, std::unique_ptr<sod2_plan> *plan,
                      sod2_error *error);

} // namespace sod2
