// When slots are filled:
//  * Lives are those of the image: from one position to another, both included. A life that holds a
//  step which holds others from outside ends with that step, whatever runs within it.
//  * A slot that lies where another one ends in the same step is written in place: neither is
//  filled. In a branch it may be written over memory from outside, which is filled after the branch.
//  * What chooses a branch or ends a loop is read between two steps; it is left as it is.
#include "poison.h"

#include "plan.h"

#include <cstring>

namespace sod2 {
namespace {

constexpr uint16_t kPattern = 0x7fa5;

void fill(void *data, int64_t bytes) {
  auto *to = static_cast<char *>(data);
  for (int64_t i = 0; i + 1 < bytes; i += 2)
    std::memcpy(to + i, &kPattern, sizeof kPattern);
  if (bytes % 2)
    to[bytes - 1] = static_cast<char>(kPattern & 0xff);
}

} // namespace

Poison::Poison(const Image &image)
    : image_(image), born_(image.steps.size()), last_(image.steps.size()),
      dead_(image.steps.size()) {
  const auto steps = static_cast<int64_t>(image.steps.size());
  std::vector<char> asked(image.slots.size(), 0);
  for (const Branch &branch : image.branches)
    asked[static_cast<size_t>(branch.slot)] = 1;
  for (const Loop &loop : image.loops)
    if (loop.pred != kNone)
      asked[static_cast<size_t>(loop.pred)] = 1;
  for (size_t n = 0; n < image.slots.size(); ++n) {
    const Slot &slot = image.slots[n];
    if (slot.kind != SlotKind::Arena || slot.first < 0 || slot.first >= steps)
      continue;
    born_[static_cast<size_t>(slot.first)].push_back(static_cast<int64_t>(n));
    if (slot.last >= steps || slot.last < slot.first)
      continue;
    last_[static_cast<size_t>(slot.last)].push_back(static_cast<int64_t>(n));
    if (asked[n])
      continue;
    int64_t end = slot.last;
    for (int64_t at = slot.last - 1; at >= slot.first; --at)
      if (image.steps[static_cast<size_t>(at)].next > slot.last)
        end = at; // the outermost step that the life holds and that holds its last position
    dead_[static_cast<size_t>(end)].push_back(static_cast<int64_t>(n));
  }
}

void Poison::begin(const Executable &e, const sod2_plan &plan, const sod2_input *inputs,
                   void *const *outputs, const Context &context) const {
  fill(context.arena.data(), plan.info.arena_bytes);
  for (size_t i = 0; i < e.image.outputs.size(); ++i) {
    bool taken = false; // over: an input's memory
    for (size_t k = 0; k < e.image.inputs.size(); ++k)
      taken = taken || inputs[k].data == outputs[i];
    if (!taken)
      fill(outputs[i], plan.output_bytes[i]);
  }
}

void Poison::before(int64_t position, const sod2_plan &plan, const Context &context) const {
  auto at = static_cast<size_t>(position);
  fill(context.scratch.data(), static_cast<int64_t>(context.scratch.bytes()));
  fill_apart(born_[at], last_[at], plan, context);
}

void Poison::after(int64_t position, const sod2_plan &plan, const Context &context) const {
  auto at = static_cast<size_t>(position);
  fill_apart(dead_[at], born_[at], plan, context);
}

void Poison::fill_apart(const Slots &slots, const Slots &others, const sod2_plan &plan,
                        const Context &context) const {
  auto value = [&](int64_t number) { return plan.values[static_cast<size_t>(number)]; };
  for (int64_t n : slots) {
    const Slot &slot = image_.slots[static_cast<size_t>(n)];
    int64_t begin = value(slot.offset), bytes = value(slot.bytes);
    bool apart = true;
    for (int64_t m : others) {
      const Slot &other = image_.slots[static_cast<size_t>(m)];
      int64_t from = value(other.offset);
      apart = apart && (m == n || from >= begin + bytes || begin >= from + value(other.bytes));
    }
    if (apart)
      fill(context.arena.data() + begin, bytes);
  }
}

} // namespace sod2
