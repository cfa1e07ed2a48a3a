#pragma once
#include "sod2rt.h"

#include <vector>

// The image of a Program, as sod2jax/image.py writes it: its layout is described there.
namespace sod2 {

enum class Op : int64_t { Const, Value, Add, Sub, Mul, FloorDiv, Mod, Min, Max, Store };
enum class SlotKind : int64_t { Input, Output, Arena, Constant, Cached };
enum class Compare : int64_t { Eq, Ne, Le, Lt };
enum class GuardKind : int64_t { Contract, Version, Check };
enum class StepKind : int64_t { Kernel, Host, Branch, Loop };

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
  int64_t dtype, item_bytes, slot, forward, donor;
  Words dims; // value numbers
};

struct Slot {
  SlotKind kind;
  int64_t index, bytes, offset; // bytes and offset: value numbers
  int64_t first, last;          // an arena slot lives from one position to another
  const char *name;
};

// Steps lie in the order of their positions: one that holds others first, then what it holds. So a
// list of steps is a range of positions, and no step can hold itself.
struct Step {
  StepKind kind;
  int64_t at;   // which call, branch or loop of the image it is
  int64_t next; // position after it and what it holds
  const char *source;
};

struct KernelCall {
  int64_t kernel;
  Words slots, sizes, prepare;
  int64_t extent, work, scratch;
  int64_t first_argument; // of all arguments of all calls, one after the other
};

struct HostArray {
  int64_t slot, dtype, item_bytes;
  Words dims;
};

struct HostCall {
  int64_t function;
  int64_t first, reads, writes; // of the image's arrays
};

struct Branch {
  int64_t slot, bytes; // the number of the list to run: one byte (a bool) or four (an int32)
  Words blocks;        // how many positions each list takes
};

struct Patch { // an argument that must be addressed again when slots change places
  int64_t argument, slot;
};

struct Loop {
  int64_t length, counter, pred; // value, slot, slot; each may be kNone
  Words swaps, blocks;           // pairs of slots; positions of the condition and of the body
  std::vector<Patch> patches;
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
  std::vector<KernelCall> calls;
  std::vector<HostArray> arrays;
  std::vector<HostCall> host_calls;
  std::vector<Branch> branches;
  std::vector<Loop> loops;
  std::vector<Guard> guards;
  std::vector<Instruction> code;
  std::vector<const char *> texts; // of each value; null where nobody asks
  int64_t values = 0, constants = 0, kernels = 0, hosts = 0, arena = kNone;
  int64_t cached = 0, dims = 0, arguments = 0;
  int64_t stack = 0; // deepest stack of the code
};

// Checks everything that running relies on; the image's words must outlive the result.
sod2_status read_image(const int64_t *words, size_t count, Image *image, sod2_error *error);

} // namespace sod2
