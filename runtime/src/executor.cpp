// How a call runs:
//  * the arena, the scratch of each thread and the cached buffers are grown to what the plan says
//  (never in steady state);
//  * every slot gets its address once;
//  * steps run in order; a step that prepares a cached buffer is skipped while the inputs it read
//  are the same arrays;
//  * a step wakes as many threads as its work feeds.
#include "executor.h"

#include "denormals.h"
#include "error.h"
#include "thread_pool.h"

#include <chrono>
#include <cinttypes>
#include <cstring>

namespace sod2 {
namespace {

constexpr int64_t kThreadWork =
    20000; // scalar operations that pay for handing a range to another thread

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
  size_t scratch = rounded(info.scratch_bytes) * static_cast<size_t>(threads);
  if (!context->scratch.reserve(scratch))
    return no_memory("the scratch of the threads", static_cast<int64_t>(scratch), nullptr, error);
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
    for (PreparedSet::Step &step : set->steps)
      step.tokens.clear();
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
}

struct Loop {
  sod2_kernel kernel;
  void **buffers;
  const int64_t *sizes;
  char *scratch;
  size_t scratch_bytes;
};

void run_range(void *context, int64_t begin, int64_t end, int thread) {
  FlushDenormals flush;
  auto *loop = static_cast<Loop *>(context);
  loop->kernel(loop->buffers, loop->sizes, begin, end,
               loop->scratch + loop->scratch_bytes * static_cast<size_t>(thread));
}

} // namespace

Context::Context(const Image &image, const sod2_hooks *hooks)
    : arena(hooks), scratch(hooks), slots(image.slots.size()) {
  int64_t most = 0;
  for (const Step &step : image.steps)
    most = step.slots.count > most ? step.slots.count : most;
  buffers.resize(static_cast<size_t>(most) + 1);
}

sod2_status run(const Executable &e, const sod2_plan &plan, Context *context, PreparedSet *prepared,
                bool *fill, const sod2_input *inputs, void *const *outputs, int64_t *step_ns,
                sod2_error *error) {
  ThreadPool &pool = ThreadPool::global();
  int threads = pool.threads();
  if (sod2_status status = grow(e, plan, threads, context, error))
    return status;
  const bool filling = *fill;
  *fill = false;
  if (filling)
    if (sod2_status status = grow_prepared(e.image, plan, prepared, error))
      return status;
  address_slots(e, plan, inputs, outputs, prepared, context);
  const int64_t *values = plan.values.data();
  for (size_t i = 0; i < e.image.steps.size(); ++i) {
    const Step &step = e.image.steps[i];
    int64_t started = step_ns ? now_ns() : 0;
    int64_t extent = values[step.extent], work = values[step.work];
    const int64_t *sizes = plan.sizes.data() + plan.first_size[i];
    bool wanted = step.prepare.count == 0;
    if (!wanted && filling && !is_prepared(step, prepared->steps[i], sizes, inputs)) {
      wanted = true;
      note_prepared(step, &prepared->steps[i], sizes, inputs);
    }
    if (wanted && extent > 0) {
      for (int64_t s = 0; s < step.slots.count; ++s)
        context->buffers[static_cast<size_t>(s)] =
            context->slots[static_cast<size_t>(step.slots[s])];
      Loop loop = {e.kernels[step.kernel], context->buffers.data(), sizes, context->scratch.data(),
                   rounded(plan.info.scratch_bytes)};
      int64_t fed = work / kThreadWork;
      if (fed < 2 || extent < 2 || threads < 2)
        run_range(&loop, 0, extent, 0);
      else
        pool.run(fed < threads ? static_cast<int>(fed) : threads, extent,
                 1 + extent / (work / 4000 + 1), run_range, &loop);
    }
    if (step_ns)
      step_ns[i] = now_ns() - started;
  }
  for (size_t i = 0; i < e.image.outputs.size(); ++i)
    if (int64_t from = e.image.outputs[i].forward; from != kNone && plan.output_bytes[i] > 0)
      std::memcpy(outputs[i], inputs[from].data, static_cast<size_t>(plan.output_bytes[i]));
  *fill = filling;
  return SOD2_OK;
}

} // namespace sod2
