// How a plan is made:
//  * symbols are solved from the axes that define them, exactly, and checked against their bounds;
//  * one run of the size code gives every value; then all input dims must equal their formulas;
//  * version guards come before contract guards: what does not fit anyway is not the caller's
//  fault;
//  * slots must lie inside of their buffers, so that a wrong image cannot make a kernel write
//  elsewhere.
#include "plan.h"

#include "arena.h"
#include "error.h"
#include "postfix.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sod2 {
namespace {

using std::size_t;

const char *text_of(const Image &image, int64_t value) {
  const char *text = image.texts[static_cast<size_t>(value)];
  return text ? text : "?";
}

sod2_status solve(const Image &image, const int64_t *dims, int64_t *values, sod2_error *error) {
  std::vector<int64_t> start(image.inputs.size() + 1, 0);
  for (size_t i = 0; i < image.inputs.size(); ++i)
    start[i + 1] = start[i] + image.inputs[i].dims.count;
  for (size_t i = 0; i < image.symbols.size(); ++i) {
    const Symbol &s = image.symbols[i];
    int64_t dim = dims[start[static_cast<size_t>(s.input)] + s.axis], rest = 0;
    const char *path = image.inputs[static_cast<size_t>(s.input)].path;
    bool exact =
        !__builtin_sub_overflow(dim, s.offset, &rest) && s.scale != -1 && rest % s.scale == 0;
    values[i] = exact ? rest / s.scale : 0;
    if (!exact)
      return fail(error, SOD2_MISFIT,
                  "axis %" PRId64 " of %s has size %" PRId64 ", which is not %" PRId64
                  "*%s + %" PRId64,
                  s.axis, path, dim, s.scale, s.name, s.offset);
    if (values[i] < s.low && s.high == INT64_MAX)
      return fail(error, SOD2_MISFIT,
                  "axis %" PRId64 " of %s makes %s = %" PRId64 ", compiled for %" PRId64 " <= %s",
                  s.axis, path, s.name, values[i], s.low, s.name);
    if (values[i] < s.low || values[i] > s.high)
      return fail(error, SOD2_MISFIT,
                  "axis %" PRId64 " of %s makes %s = %" PRId64 ", compiled for %" PRId64
                  " <= %s <= %" PRId64,
                  s.axis, path, s.name, values[i], s.low, s.name, s.high);
  }
  return SOD2_OK;
}

sod2_status check_dims(const Image &image, const int64_t *dims, const int64_t *values,
                       sod2_error *error) {
  for (const Tensor &input : image.inputs)
    for (int64_t axis = 0; axis < input.dims.count; ++axis, ++dims)
      if (int64_t want = values[input.dims[axis]]; *dims != want) {
        const char *text = text_of(image, input.dims[axis]);
        char *end = nullptr;
        (void)std::strtoll(text, &end, 10);
        bool fixed = *end == 0;
        return fail(error, SOD2_MISFIT,
                    "axis %" PRId64 " of %s has size %" PRId64 ", compiled for %s%s%.0" PRId64,
                    axis, input.path, *dims, text, fixed ? "" : " = ", fixed ? 0 : want);
      }
  return SOD2_OK;
}

// Replaces {lhs} and {rhs}.
void fill_in(const char *message, int64_t left, int64_t right, char *to, size_t room) {
  size_t n = 0;
  while (*message && n + 24 < room) {
    bool lhs = std::strncmp(message, "{lhs}", 5) == 0;
    if (lhs || std::strncmp(message, "{rhs}", 5) == 0) {
      n += static_cast<size_t>(std::snprintf(to + n, room - n, "%" PRId64, lhs ? left : right));
      message += 5;
    } else {
      to[n++] = *message++;
    }
  }
  to[n] = 0;
  drop_partial_character(to);
}

sod2_status check_guards(const Image &image, const int64_t *values, GuardKind kind,
                         sod2_error *error) {
  static const char *const signs[] = {"==", "!=", "<=", "<"};
  static const sod2_status statuses[] = {SOD2_CONTRACT, SOD2_MISFIT, SOD2_CHECK};
  for (const Guard &g : image.guards) {
    if (g.kind != kind || holds(g.compare, values[g.left], values[g.right]))
      continue;
    char rule[512];
    fill_in(g.message, values[g.left], values[g.right], rule, sizeof rule);
    return fail(error, statuses[static_cast<int>(kind)],
                "%s%s%s %s %s does not hold: %" PRId64 " against %" PRId64 "%s%s%s", rule,
                rule[0] ? ": " : "", text_of(image, g.left), signs[static_cast<int>(g.compare)],
                text_of(image, g.right), values[g.left], values[g.right], g.where[0] ? " (" : "",
                g.where, g.where[0] ? ")" : "");
  }
  return SOD2_OK;
}

// Bytes of a tensor; negative sizes and overflow are errors.
sod2_status bytes_of(const Image &image, const Tensor &tensor, const char *what,
                     const int64_t *values, int64_t *bytes, sod2_error *error) {
  *bytes = tensor.item_bytes;
  for (int64_t axis = 0; axis < tensor.dims.count; ++axis) {
    int64_t size = values[tensor.dims[axis]];
    if (size < 0)
      return fail(error, SOD2_CHECK,
                  "axis %" PRId64 " of %s would have the negative size %s = %" PRId64, axis, what,
                  text_of(image, tensor.dims[axis]), size);
    if (!checked_mul(*bytes, size, bytes))
      return fail(error, SOD2_OVERFLOW, "the bytes of %s do not fit into 63 bits", what);
  }
  return SOD2_OK;
}

sod2_status place(const Image &image, sod2_plan *plan, sod2_error *error) {
  const int64_t *values = plan->values.data();
  for (const Tensor &input : image.inputs) {
    int64_t bytes = 0;
    if (sod2_status s = bytes_of(image, input, input.path, values, &bytes, error))
      return s;
    plan->input_bytes.push_back(bytes);
  }
  for (const Tensor &output : image.outputs) {
    int64_t bytes = 0;
    if (sod2_status s = bytes_of(image, output, "an output", values, &bytes, error))
      return s;
    plan->output_bytes.push_back(bytes);
    std::vector<int64_t> dims;
    for (int64_t axis = 0; axis < output.dims.count; ++axis)
      dims.push_back(values[output.dims[axis]]);
    plan->output_dims.push_back(std::move(dims));
  }
  sod2_plan_info &info = plan->info;
  info.arena_bytes = image.arena == kNone ? 0 : values[image.arena];
  for (const Slot &slot : image.slots) {
    auto index = static_cast<size_t>(slot.index);
    int64_t bytes = values[slot.bytes], end = bytes;
    bool inside = bytes >= 0;
    if (slot.kind == SlotKind::Arena) {
      int64_t offset = values[slot.offset];
      inside = inside && offset >= 0 && offset % static_cast<int64_t>(kAlign) == 0 &&
               checked_add(offset, bytes, &end) && (bytes == 0 || end <= info.arena_bytes);
    } else if (slot.kind == SlotKind::Input) {
      inside = inside && bytes <= plan->input_bytes[index];
    } else if (slot.kind == SlotKind::Output) {
      // A kernel may write whole vectors past the last element: the block is as large as the slot
      // says.
      if (bytes > plan->output_bytes[index])
        plan->output_bytes[index] = bytes;
    } else if (slot.kind == SlotKind::Cached) {
      inside = inside && checked_add(info.cached_bytes, bytes, &info.cached_bytes);
    }
    if (!inside)
      return fail(error, SOD2_BAD_IMAGE,
                  "the program is wrong: slot %s of %" PRId64 " bytes lies outside of its buffer",
                  slot.name, bytes);
  }
  for (int64_t bytes : plan->output_bytes)
    if (!checked_add(info.output_bytes, bytes, &info.output_bytes))
      return fail(error, SOD2_OVERFLOW, "the bytes of the outputs do not fit into 63 bits");
  for (const KernelCall &call : image.calls) {
    plan->calls.push_back(
        {values[call.extent], values[call.work], static_cast<int64_t>(plan->sizes.size())});
    for (int64_t i = 0; i < call.sizes.count; ++i)
      plan->sizes.push_back(values[call.sizes[i]]);
    if (values[call.scratch] > info.scratch_bytes)
      info.scratch_bytes = values[call.scratch];
  }
  return SOD2_OK;
}

// Shapes of the arrays of host calls, and whether what steps read and write themselves has room in
// its slot.
sod2_status place_control(const Image &image, sod2_plan *plan, sod2_error *error) {
  const int64_t *values = plan->values.data();
  auto bytes_of_slot = [&](int64_t slot) {
    return values[image.slots[static_cast<size_t>(slot)].bytes];
  };
  auto wrong = [&](const char *what) {
    return fail(error, SOD2_BAD_IMAGE, "the program is wrong: %s", what);
  };
  size_t rank = 0;
  for (const HostArray &array : image.arrays)
    rank += static_cast<size_t>(array.dims.count);
  plan->array_dims.reserve(rank); // what follows points into it
  for (const HostArray &array : image.arrays) {
    const int64_t *dims = plan->array_dims.data() + plan->array_dims.size();
    int64_t bytes = array.item_bytes;
    bool fits = true;
    for (int64_t axis = 0; axis < array.dims.count; ++axis) {
      int64_t size = values[array.dims[axis]];
      plan->array_dims.push_back(size);
      fits = fits && size >= 0 && checked_mul(bytes, size, &bytes);
    }
    if (!fits || bytes > bytes_of_slot(array.slot))
      return wrong("an array of a host call is larger than its slot");
    plan->arrays.push_back({nullptr, array.dtype, array.dims.count, dims});
  }
  for (const Branch &branch : image.branches)
    if (bytes_of_slot(branch.slot) < branch.bytes)
      return wrong("the number of a branch is larger than its slot");
  for (const Loop &loop : image.loops) {
    if ((loop.counter != kNone && bytes_of_slot(loop.counter) < 8) ||
        (loop.pred != kNone && bytes_of_slot(loop.pred) < 1))
      return wrong("the counter or the condition of a loop is larger than its slot");
    for (int64_t i = 0; i < loop.swaps.count; i += 2)
      if (bytes_of_slot(loop.swaps[i]) != bytes_of_slot(loop.swaps[i + 1]))
        return wrong("slots of different bytes change places in a loop");
  }
  return SOD2_OK;
}

constexpr int64_t kIterationWork = 20; // of a loop, besides its steps: some nanoseconds

int64_t saturating_add(int64_t a, int64_t b) {
  int64_t sum = 0;
  return checked_add(a, b, &sum) ? sum : INT64_MAX;
}

// Fills in the work of each of these steps; gives their sum. A loop whose end only its condition
// knows may run for ever.
int64_t weigh(const Image &image, sod2_plan *plan, int64_t begin, int64_t end) {
  int64_t total = 0;
  while (begin < end) {
    const Step &step = image.steps[static_cast<size_t>(begin)];
    auto at = static_cast<size_t>(step.at);
    int64_t work = 0, inner = begin + 1;
    if (step.kind == StepKind::Kernel) {
      work = image.calls[at].prepare.count > 0 ? 0 : plan->calls[at].work;
    } else if (step.kind == StepKind::Branch) {
      const Words &blocks = image.branches[at].blocks;
      for (int64_t i = 0; i < blocks.count; inner += blocks[i++])
        work = std::max(work, weigh(image, plan, inner, inner + blocks[i]));
    } else if (step.kind == StepKind::Loop) {
      const Loop &loop = image.loops[at];
      work = saturating_add(weigh(image, plan, inner, step.next), kIterationWork);
      if (loop.length == kNone)
        work = INT64_MAX;
      else if (!checked_mul(work,
                            std::max<int64_t>(plan->values[static_cast<size_t>(loop.length)], 0),
                            &work))
        work = INT64_MAX;
    }
    plan->work[static_cast<size_t>(begin)] = work;
    total = saturating_add(total, work);
    begin = step.next;
  }
  return total;
}

} // namespace

uint64_t hash_dims(const int64_t *dims, size_t count) {
  uint64_t h = 0x9e3779b97f4a7c15u;
  for (size_t i = 0; i < count; ++i) {
    h = (h ^ static_cast<uint64_t>(dims[i])) * 0xff51afd7ed558ccdu;
    h ^= h >> 32;
  }
  return h;
}

sod2_status make_plan(const Image &image, const int64_t *dims, std::unique_ptr<sod2_plan> *result,
                      sod2_error *error) {
  auto plan = std::make_unique<sod2_plan>();
  auto count = static_cast<size_t>(image.dims);
  plan->dims.assign(dims, dims + count);
  plan->hash = hash_dims(dims, count);
  plan->values.resize(static_cast<size_t>(image.values));
  std::vector<int64_t> stack(static_cast<size_t>(image.stack) + 1);
  int64_t *values = plan->values.data();
  sod2_status status = solve(image, dims, values, error);
  // Sizes may overflow at symbols that a guard forbids, so a failure counts only after the checks
  // that were possible.
  if (!status)
    status = evaluate(image, values, stack.data(), error);
  if (!status)
    status = check_dims(image, dims, values, error);
  for (GuardKind kind : {GuardKind::Version, GuardKind::Contract, GuardKind::Check})
    if (!status)
      status = check_guards(image, values, kind, error);
  if (!status)
    status = place(image, plan.get(), error);
  if (!status)
    status = place_control(image, plan.get(), error);
  if (!status) {
    plan->work.resize(image.steps.size());
    plan->info.work = weigh(image, plan.get(), 0, static_cast<int64_t>(image.steps.size()));
  }
  if (!status)
    *result = std::move(plan);
  return status;
}

} // namespace sod2
