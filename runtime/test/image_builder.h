#pragma once
#include "image.h"

#include <string>

// Writes program images as sod2jax/image.py does, for tests that need no Python.
class ImageBuilder {
public:
  struct Tensor {
    std::string path;
    std::vector<int64_t> dims; // value numbers
  };
  struct Slot {
    sod2::SlotKind kind;
    int64_t index, bytes, offset;
    int64_t first = 0, last = INT64_MAX;
  };
  struct Step {
    int64_t kernel;
    std::vector<int64_t> slots, sizes;
    int64_t extent, work, scratch;
    std::vector<int64_t> prepare = {};
  };
  struct Array {
    int64_t slot;
    std::vector<int64_t> dims;
  };

  // Values are numbered in the order of their making; symbols must come first.
  int64_t symbol(const std::string &name, int64_t input, int64_t axis, int64_t scale = 1,
                 int64_t offset = 0, int64_t low = 0, int64_t high = INT64_MAX);
  int64_t constant(int64_t n);
  int64_t binary(sod2::Op op, int64_t a, int64_t b); // value op value
  int64_t times(int64_t a, int64_t b) { return binary(sod2::Op::Mul, a, b); }
  void guard(int64_t left, sod2::Compare compare, int64_t right, sod2::GuardKind kind,
             const std::string &message);
  void output(std::vector<int64_t> dims, int64_t slot, int64_t forward = sod2::kNone,
              int64_t donor = sod2::kNone);

  std::vector<Tensor> inputs;
  std::vector<Slot> slots;
  int64_t kernels = 1, constants = 0, hosts = 0, arena = sod2::kNone;

  // Steps, in the order of their positions; blocks count the positions that follow.
  void step(const Step &step);
  void host(int64_t function, const std::vector<Array> &reads, const std::vector<Array> &writes);
  void branch(int64_t slot, int64_t bytes, const std::vector<int64_t> &blocks);
  void loop(int64_t length, int64_t counter, int64_t pred, const std::vector<int64_t> &swaps,
            const std::vector<int64_t> &blocks);

  std::vector<int64_t> words() const;            // f32 tensors
  static void seal(std::vector<int64_t> *words); // makes length and checksum right again

private:
  int64_t text(const std::string &text);

  std::vector<int64_t> symbols_, outputs_, steps_, guards_, code_;
  std::string strings_ = std::string(8, '\0');
  int64_t n_symbols_ = 0, n_outputs_ = 0, n_steps_ = 0, n_guards_ = 0, n_values_ = 0;
};

std::vector<int64_t>
axpy_image(); // y[n, m] = x[n, m] + w[m] via an arena slot and a prepared copy of w
