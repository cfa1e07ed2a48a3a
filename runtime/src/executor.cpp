// How a call runs:
//  * the arena, the scratch of each thread and the cached buffers are grown to what the plan says
//  (never in steady state);
//  * every slot, and every argument of every kernel, gets its address once;
//  * steps that prepare cached buffers run first, unless the inputs they read are the same arrays
//  as last time; then others may use the buffers as well, and the other steps run in order;
//  * a loop whose slots change places addresses anew only the arguments that name them, and leaves
//  everything as it was before it;
//  * a step wakes as many threads as its work feeds, and none for little work.
#include "executor.h"

#include "denormals.h"
#include "error.h"
#include "library.h"
#include "poison.h"
#include "thread_pool.h"

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstring>
#include <utility>

namespace sod2 {
namespace {

constexpr int64_t kThreadWork =
    20000; // scalar operations that pay for handing a range to another thread

constexpr int64_t kCopyBytes = 1 << 18; // that pay for another thread
constexpr int kTicks = 16;              // short iterations of loops between two looks at the clock
constexpr int64_t kPollNs = 50 * 1000 * 1000;

size_t rounded(int64_t bytes) {
  return (static_cast<size_t>(bytes) + kAlign - 1) / kAlign * kAlign;
}

int64_t now_ns() {
  auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

sod2_status no_memory(const char *what, int64_t bytes, const char *formula, sod2_error *error) {
  return fail(error, SOD2_NO_MEMORY, "could not allocate %" PRId64 " bytes for %s%s%s", bytes, what,
              formula ? ", which is " : "", formula ? formula : "");
}

sod2_status grow(const Executable &e, const sod2_plan &plan, int threads, Context *context,
                 sod2_error *error) {
  const Image &image = e.image;
  const sod2_plan_info &info = plan.info;
  if (!context->arena.reserve(static_cast<size_t>(info.arena_bytes)))
    return no_memory("the arena", info.arena_bytes, image.texts[static_cast<size_t>(image.arena)],
                     error);
  size_t scratch;
  if (__builtin_mul_overflow(rounded(info.scratch_bytes), static_cast<size_t>(threads), &scratch) ||
      !context->scratch.reserve(scratch))
    return no_memory("the scratch of a thread", info.scratch_bytes, nullptr, error);
  return SOD2_OK;
}

// Makes the buffers of a set as large as this call wants them.
sod2_status grow_prepared(const Image &image, const sod2_plan &plan, PreparedSet *set,
                          sod2_error *error) {
  for (const Slot &slot : image.slots) {
    if (slot.kind != SlotKind::Cached)
      continue;
    auto index = static_cast<size_t>(slot.index);
    int64_t bytes = plan.values[static_cast<size_t>(slot.bytes)];
    if (bytes == set->bytes[index])
      continue;
    // Its contents are void now, whether it grows or not: every step is prepared again.
    for (PreparedSet::Call &call : set->calls)
      call.tokens.clear();
    set->bytes[index] = kNone;
    if (!set->buffers[index].reserve(static_cast<size_t>(bytes)))
      return no_memory(slot.name[0] ? slot.name : "a prepared buffer", bytes,
                       image.texts[static_cast<size_t>(slot.bytes)], error);
    set->bytes[index] = bytes;
  }
  return SOD2_OK;
}

void address_slots(const Executable &e, const sod2_plan &plan, const sod2_input *inputs,
                   void *const *outputs, const PreparedSet *prepared, Context *context) {
  void **address = context->slots.data();
  for (const Slot &slot : e.image.slots) {
    auto index = static_cast<size_t>(slot.index);
    switch (slot.kind) {
    case SlotKind::Input:
      *address = const_cast<void *>(inputs[index].data);
      break;
    case SlotKind::Output:
      *address = outputs[index];
      break;
    case SlotKind::Arena:
      *address = context->arena.data() + plan.values[static_cast<size_t>(slot.offset)];
      break;
    case SlotKind::Constant:
      *address = const_cast<void *>(e.constants[index]);
      break;
    case SlotKind::Cached:
      *address = prepared->buffers[index].data();
      break;
    }
    ++address;
  }
  void **argument = context->arguments.data();
  for (const KernelCall &call : e.image.calls)
    for (int64_t i = 0; i < call.slots.count; ++i)
      *argument++ = context->slots[static_cast<size_t>(call.slots[i])];
}

struct Range {
  sod2_kernel kernel;
  void **arguments;
  const int64_t *sizes;
  char *scratch;
  size_t scratch_bytes;
};

void run_range(void *context, int64_t begin, int64_t end, int thread) {
  FlushDenormals flush;
  auto *range = static_cast<Range *>(context);
  range->kernel(range->arguments, range->sizes, begin, end,
                range->scratch + range->scratch_bytes * static_cast<size_t>(thread));
}

// With more threads where it is large.
void copy(void *from, void *to, int64_t bytes, int threads) {
  void *arguments[] = {from, to};
  Range range = {copy_bytes, arguments, nullptr, nullptr, 0};
  if (bytes > 0)
    ThreadPool::global().run(static_cast<int>(std::min<int64_t>(1 + bytes / kCopyBytes, threads)),
                             bytes, kCopyBytes, run_range, &range);
}

// The steps of one call.
class Steps {
public:
  Steps(const Executable &executable, const sod2_plan &plan, Context *context, int threads,
        int64_t *step_ns, sod2_error *error)
      : e_(executable), plan_(plan), context_(*context), threads_(threads), step_ns_(step_ns),
        watched_(step_ns || executable.poison), error_(error) {
    if (step_ns)
      std::fill(step_ns, step_ns + e_.image.steps.size(), 0);
  }

  void prepare(PreparedSet *set, const sod2_input *inputs);
  sod2_status run(int64_t begin, int64_t end); // a list of steps: positions

private:
  void kernel(size_t call);
  sod2_status host(const HostCall &call);
  sod2_status branch(const Branch &branch, int64_t position);
  sod2_status loop(const Loop &loop, int64_t position);
  void exchange(const Loop &loop);
  bool stop();
  int64_t begin(int64_t position); // of a step that is watched; gives the time
  void end(int64_t position, int64_t started);
  void *address(int64_t slot) const { return context_.slots[static_cast<size_t>(slot)]; }

  const Executable &e_;
  const sod2_plan &plan_;
  Context &context_;
  const int threads_;
  int64_t *const step_ns_;
  const bool watched_; // whether each step's begin and end matter
  sod2_error *const error_;
  FlushDenormals flush_;
  int ticks_ = kTicks; // iterations until the clock is read
  int64_t asked_ = 0;  // when the poll hook was asked
};

void Steps::prepare(PreparedSet *set, const sod2_input *inputs) {
  for (size_t i = 0; i < e_.image.steps.size(); ++i) {
    const Step &step = e_.image.steps[i];
    auto at = static_cast<size_t>(step.at);
    if (step.kind != StepKind::Kernel || e_.image.calls[at].prepare.count == 0)
      continue;
    const KernelCall &call = e_.image.calls[at];
    const int64_t *sizes = plan_.sizes.data() + plan_.calls[at].first_size;
    if (is_prepared(call, set->calls[at], sizes, inputs))
      continue;
    int64_t started = step_ns_ ? now_ns() : 0;
    kernel(at);
    note_prepared(call, &set->calls[at], sizes, inputs);
    if (step_ns_)
      step_ns_[i] += now_ns() - started;
  }
}

sod2_status Steps::run(int64_t begin, int64_t end) {
  const Step *steps = e_.image.steps.data();
  sod2_status status = SOD2_OK;
  for (int64_t i = begin; i < end && !status; i = steps[i].next) {
    int64_t started = watched_ ? this->begin(i) : 0;
    auto at = static_cast<size_t>(steps[i].at);
    switch (steps[i].kind) {
    case StepKind::Kernel:
      if (e_.image.calls[at].prepare.count == 0)
        kernel(at);
      break;
    case StepKind::Host:
      status = host(e_.image.host_calls[at]);
      break;
    case StepKind::Branch:
      status = branch(e_.image.branches[at], i);
      break;
    case StepKind::Loop:
      status = loop(e_.image.loops[at], i);
      break;
    }
    if (watched_)
      this->end(i, started);
  }
  return status;
}

int64_t Steps::begin(int64_t position) {
  if (e_.poison)
    e_.poison->before(position, plan_, context_);
  return step_ns_ ? now_ns() : 0;
}

void Steps::end(int64_t position, int64_t started) {
  if (step_ns_)
    step_ns_[position] += now_ns() - started;
  if (e_.poison)
    e_.poison->after(position, plan_, context_);
}

void Steps::kernel(size_t at) {
  const KernelCall &call = e_.image.calls[at];
  const sod2_plan::Call &plan = plan_.calls[at];
  if (plan.extent <= 0)
    return;
  Range range = {e_.kernels[call.kernel], context_.arguments.data() + call.first_argument,
                 plan_.sizes.data() + plan.first_size, context_.scratch.data(),
                 rounded(plan_.info.scratch_bytes)};
  if (plan.work < 2 * kThreadWork) {
    range.kernel(range.arguments, range.sizes, 0, plan.extent, range.scratch);
    return;
  }
  ticks_ = 0; // it takes long enough for the clock to be read
  int64_t fed = plan.work / kThreadWork;
  if (plan.extent < 2 || threads_ < 2)
    range.kernel(range.arguments, range.sizes, 0, plan.extent, range.scratch);
  else
    ThreadPool::global().run(fed < threads_ ? static_cast<int>(fed) : threads_, plan.extent,
                             1 + plan.extent / (plan.work / 4000 + 1), run_range, &range);
}

sod2_status Steps::host(const HostCall &call) {
  if (!e_.hooks.host)
    return fail(error_, SOD2_HOST,
                "the program calls a host function, and there is no hook for it");
  auto reads = static_cast<size_t>(call.reads), writes = static_cast<size_t>(call.writes);
  sod2_host_array *arrays = context_.arrays.data();
  for (size_t i = 0; i < reads + writes; ++i) {
    auto at = static_cast<size_t>(call.first) + i;
    arrays[i] = plan_.arrays[at];
    arrays[i].data = address(e_.image.arrays[at].slot);
  }
  ticks_ = 0;
  flush_.pause();
  sod2_status status =
      e_.hooks.host(e_.hooks.user, call.function, arrays, reads, arrays + reads, writes, error_);
  flush_.resume();
  return status;
}

sod2_status Steps::branch(const Branch &branch, int64_t position) {
  int32_t number = 0;
  if (branch.bytes == 1)
    number = *static_cast<const unsigned char *>(address(branch.slot)) != 0;
  else
    std::memcpy(&number, address(branch.slot), sizeof number);
  auto last = static_cast<int32_t>(branch.blocks.count - 1);
  number = number < 0 ? 0 : number > last ? last : number;
  int64_t begin = position + 1;
  for (int32_t i = 0; i < number; ++i)
    begin += branch.blocks[i];
  return run(begin, begin + branch.blocks[number]);
}

void Steps::exchange(const Loop &loop) {
  void **slots = context_.slots.data();
  for (int64_t i = 0; i < loop.swaps.count; i += 2)
    std::swap(slots[loop.swaps[i]], slots[loop.swaps[i + 1]]);
  for (const Patch &patch : loop.patches)
    context_.arguments[static_cast<size_t>(patch.argument)] = slots[patch.slot];
}

sod2_status Steps::loop(const Loop &loop, int64_t position) {
  const int64_t cond = position + 1, body = cond + loop.blocks[0], end = body + loop.blocks[1];
  const int64_t length =
      loop.length == kNone ? INT64_MAX : plan_.values[static_cast<size_t>(loop.length)];
  bool odd = false;
  sod2_status status = SOD2_OK;
  for (int64_t i = 0; i < length; ++i) {
    if (loop.counter != kNone)
      std::memcpy(address(loop.counter), &i, sizeof i);
    if (loop.pred != kNone) {
      if ((status = run(cond, body)))
        return status;
      if (!*static_cast<const unsigned char *>(address(loop.pred)))
        break;
    }
    if ((status = run(body, end)))
      return status;
    if (loop.swaps.count) {
      exchange(loop);
      odd = !odd;
    }
    if (--ticks_ < 0 && stop())
      return fail(error_, SOD2_INTERRUPTED, "the call was interrupted");
  }
  if (odd) {
    exchange(loop); // back to their own memory: what was the state lies in the second slot's
    for (int64_t i = 0; i < loop.swaps.count; i += 2) {
      auto from = static_cast<size_t>(loop.swaps[i + 1]);
      copy(address(loop.swaps[i + 1]), address(loop.swaps[i]),
           plan_.values[static_cast<size_t>(e_.image.slots[from].bytes)], threads_);
    }
  }
  return SOD2_OK;
}

bool Steps::stop() {
  ticks_ = kTicks;
  if (!e_.hooks.poll)
    return false;
  int64_t now = now_ns();
  if (asked_ == 0)
    asked_ = now;
  if (now - asked_ < kPollNs)
    return false;
  asked_ = now;
  flush_.pause();
  bool stop = e_.hooks.poll(e_.hooks.user) != 0;
  flush_.resume();
  return stop;
}

} // namespace

Context::Context(const Image &image, const sod2_hooks *hooks)
    : arena(hooks), scratch(hooks), slots(image.slots.size()),
      arguments(static_cast<size_t>(image.arguments)) {
  int64_t most = 0;
  for (const HostCall &call : image.host_calls)
    most = std::max(most, call.reads + call.writes);
  arrays.resize(static_cast<size_t>(most));
}

sod2_status run(const Executable &e, const sod2_plan &plan, Context *context,
                PreparedSets *prepared, const sod2_input *inputs, void *const *outputs,
                int64_t *step_ns, sod2_error *error) {
  const int threads = ThreadPool::global().threads();
  if (sod2_status status = grow(e, plan, threads, context, error))
    return status;
  bool fill = false;
  PreparedSet *set = prepared->take(plan, inputs, &fill);
  sod2_status status = fill ? grow_prepared(e.image, plan, set, error) : SOD2_OK;
  if (!status) {
    address_slots(e, plan, inputs, outputs, set, context);
    if (e.poison)
      e.poison->begin(e, plan, inputs, outputs, *context);
    Steps steps(e, plan, context, threads, step_ns, error);
    if (fill) {
      steps.prepare(set, inputs);
      prepared->filled(set, true);
    }
    status = steps.run(0, static_cast<int64_t>(e.image.steps.size()));
  } else {
    prepared->filled(set, false);
  }
  prepared->give_back(set);
  if (status)
    return status;
  for (size_t i = 0; i < e.image.outputs.size(); ++i)
    if (int64_t from = e.image.outputs[i].forward; from != kNone)
      copy(const_cast<void *>(inputs[from].data), outputs[i], plan.output_bytes[i], threads);
  return SOD2_OK;
}

} // namespace sod2
