#pragma once
#include "sod2rt.h"

#include <vector>

// The image of a Program, as sod2jax/image.py writes it: its layout is described there.
namespace sod2 {

enum class Op : int64_t { Const, Value, Add, Sub, Mul, FloorDiv, Mod, Min, Max, Store };
enum class SlotKind : int64_t { Input, Output, Arena, Constant, Cached };
enum class Compare : int64_t { Eq, Ne, Le, Lt };
enum class GuardKind : int64_t { Contract, Version, Check };

constexpr int64_t kNone = -1;

// A run of words inside of the image.
struct Words {
  const int64_t *data = nullptr;
  int64_t count = 0;
  int64_t operator[](int64_t i) const { return data[i]; }
};

struct Instruction {
  Op op;
  int64_t operand;
};

// value[i] = (dims[axis of input] - offset) / scale for symbol i
struct Symbol {
  const char *name;
  int64_t input, axis, scale, offset, low, high;
};

struct Tensor {
  const char *path;
  int64_t dtype, item_bytes, slot, forward;
  Words dims; // value numbers
};

struct Slot {
  SlotKind kind;
  int64_t index, bytes, offset; // bytes and offset: value numbers
  const char *name;
};

struct Step {
  int64_t kernel;
  Words slots, sizes, prepare;
  int64_t extent, work, scratch;
  const char *source;
};

struct Guard {
  int64_t left;
  Compare compare;
  int64_t right;
  GuardKind kind;
  const char *message, *where;
};

struct Image {
  std::vector<Symbol> symbols;
  std::vector<Tensor> inputs, outputs;
  std::vector<Slot> slots;
  std::vector<Step> steps;
  std::vector<Guard> guards;
  std::vector<Instruction> code;
  std::vector<const char *> texts; // of each value; null where nobody asks
  int64_t values = 0, constants = 0, kernels = 0, arena = kNone, cached = 0, dims = 0;
  int64_t stack = 0; // deepest stack of the code
};

// Checks everything that running relies on; the image's words must outlive the result.
sod2_status read_image(const int64_t *words, size_t count, Image *image, sod2_error *error);

} // namespace sod2
