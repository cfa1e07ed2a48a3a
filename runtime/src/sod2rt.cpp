// The C ABI over the parts of the runtime.
#include "sod2rt.h"

#include "error.h"
#include "executor.h"
#include "poison.h"
#include "thread_pool.h"

#include <new>

using namespace sod2;

namespace {

constexpr size_t kMostPlans = 64;

void describe(const Tensor &tensor, sod2_tensor_info *info) {
  *info = {tensor.path,       tensor.dtype,   tensor.item_bytes,
           tensor.dims.count, tensor.forward, tensor.donor};
}

std::unique_ptr<Context> take_context(sod2_program *program) {
  {
    std::lock_guard<std::mutex> lock(program->mutex);
    if (!program->idle.empty()) {
      // The last one that was given back: its memory is warm, and its prepared buffers are this
      // caller's.
      std::unique_ptr<Context> context = std::move(program->idle.back());
      program->idle.pop_back();
      return context;
    }
    ++program->contexts;
    program->idle.reserve(static_cast<size_t>(program->contexts));
  }
  return std::make_unique<Context>(program->image, &program->hooks);
}

void give_back(sod2_program *program, std::unique_ptr<Context> context) {
  std::lock_guard<std::mutex> lock(program->mutex);
  program->idle.push_back(std::move(context));
}

// The plan of these dims, most recently used; null if there is none. The caller holds the mutex.
sod2_plan *find_plan(sod2_program *program, const int64_t *dims, size_t n_dims) {
  uint64_t hash = hash_dims(dims, n_dims);
  for (sod2_plan *plan : program->plans)
    if (plan->hash == hash && std::equal(dims, dims + n_dims, plan->dims.begin())) {
      plan->last_used = ++program->clock;
      plan->references.fetch_add(1, std::memory_order_relaxed);
      return plan;
    }
  return nullptr;
}

void keep_plan(sod2_program *program, sod2_plan *plan) {
  plan->references.fetch_add(1, std::memory_order_relaxed);
  plan->last_used = ++program->clock;
  if (program->plans.size() < kMostPlans) {
    program->plans.push_back(plan);
    return;
  }
  sod2_plan **oldest = &program->plans[0];
  for (sod2_plan *&candidate : program->plans)
    oldest = candidate->last_used < (*oldest)->last_used ? &candidate : oldest;
  sod2_plan_release(*oldest);
  *oldest = plan;
}

} // namespace

extern "C" {

sod2_status sod2_program_create(const int64_t *image, size_t words, const sod2_kernel *kernels,
                                size_t n_kernels, const void *const *constants, size_t n_constants,
                                size_t n_hosts, const sod2_hooks *hooks, sod2_program **program,
                                sod2_error *error) {
  *program = nullptr;
  auto made = std::make_unique<sod2_program>();
  made->hooks = complete(hooks);
  if (sod2_status status = read_image(image, words, &made->image, error))
    return status;
  if (made->image.kernels != static_cast<int64_t>(n_kernels) ||
      made->image.constants != static_cast<int64_t>(n_constants))
    return fail(error, SOD2_BAD_ARGUMENT,
                "the image wants %lld kernels and %lld constants, given %zu and %zu",
                static_cast<long long>(made->image.kernels),
                static_cast<long long>(made->image.constants), n_kernels, n_constants);
  if (made->image.hosts > static_cast<int64_t>(n_hosts))
    return fail(error, SOD2_BAD_ARGUMENT, "the image wants %lld host functions, given %zu",
                static_cast<long long>(made->image.hosts), n_hosts);
  for (size_t i = 0; i < n_kernels; ++i)
    if (!kernels[i])
      return fail(error, SOD2_BAD_ARGUMENT, "kernel %zu is null", i);
  made->kernels.assign(kernels, kernels + n_kernels);
  made->constants.assign(constants, constants + n_constants);
  made->prepares.resize(made->image.inputs.size());
  for (const KernelCall &call : made->image.calls)
    for (int64_t i = 0; i < call.prepare.count; ++i)
      made->prepares[static_cast<size_t>(call.prepare[i])] = 1;
  made->prepared = std::make_unique<PreparedSets>(made->image, &made->hooks);
  if (made->hooks.poison)
    made->poison = std::make_shared<Poison>(made->image);
  *program = made.release();
  return SOD2_OK;
}

void sod2_program_destroy(sod2_program *program) {
  if (!program)
    return;
  for (sod2_plan *plan : program->plans)
    sod2_plan_release(plan);
  delete program;
}

int64_t sod2_program_inputs(const sod2_program *p) {
  return static_cast<int64_t>(p->image.inputs.size());
}
int64_t sod2_program_outputs(const sod2_program *p) {
  return static_cast<int64_t>(p->image.outputs.size());
}
int64_t sod2_program_dims(const sod2_program *p) { return p->image.dims; }
void sod2_program_input(const sod2_program *p, int64_t i, sod2_tensor_info *info) {
  describe(p->image.inputs[static_cast<size_t>(i)], info);
}
void sod2_program_output(const sod2_program *p, int64_t i, sod2_tensor_info *info) {
  describe(p->image.outputs[static_cast<size_t>(i)], info);
}
int sod2_program_prepares(const sod2_program *p, int64_t i) {
  return p->prepares[static_cast<size_t>(i)];
}

sod2_status sod2_plan_acquire(sod2_program *program, const int64_t *dims, size_t n_dims,
                              sod2_plan **plan, sod2_error *error) {
  *plan = nullptr;
  if (static_cast<int64_t>(n_dims) != program->image.dims)
    return fail(error, SOD2_BAD_ARGUMENT, "given %zu dims, the inputs have %lld", n_dims,
                static_cast<long long>(program->image.dims));
  {
    std::lock_guard<std::mutex> lock(program->mutex);
    if ((*plan = find_plan(program, dims, n_dims)))
      return SOD2_OK;
  }
  std::unique_ptr<sod2_plan> made;
  if (sod2_status status = make_plan(program->image, dims, &made, error))
    return status;
  std::lock_guard<std::mutex> lock(program->mutex);
  *plan = made.release();
  keep_plan(program, *plan); // a second one for the same dims, made at the same time, does no harm
  return SOD2_OK;
}

void sod2_plan_retain(sod2_plan *plan) { plan->references.fetch_add(1, std::memory_order_relaxed); }
void sod2_plan_release(sod2_plan *plan) {
  if (plan && plan->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    delete plan;
}
void sod2_plan_describe(const sod2_plan *plan, sod2_plan_info *info) { *info = plan->info; }
const int64_t *sod2_plan_output_dims(const sod2_plan *plan, int64_t i) {
  return plan->output_dims[static_cast<size_t>(i)].data();
}
int64_t sod2_plan_output_bytes(const sod2_plan *plan, int64_t i) {
  return plan->output_bytes[static_cast<size_t>(i)];
}

sod2_status sod2_run(sod2_program *program, sod2_plan *plan, const sod2_input *inputs,
                     void *const *outputs, int64_t *step_ns, sod2_error *error) {
  std::unique_ptr<Context> context = take_context(program);
  Executable executable = {program->image, program->kernels.data(), program->constants.data(),
                           program->hooks, program->poison.get()};
  sod2_status status = run(executable, *plan, context.get(), program->prepared.get(), inputs,
                           outputs, step_ns, error);
  give_back(program, std::move(context));
  return status;
}

int sod2_threads(void) { return ThreadPool::global().threads(); }
void sod2_set_threads(int count) { ThreadPool::global().set_threads(count); }

void sod2_program_get_stats(sod2_program *program, sod2_program_stats *stats) {
  std::lock_guard<std::mutex> lock(program->mutex);
  *stats = {static_cast<int64_t>(program->plans.size()), program->contexts, 0, 0, 0};
  stats->cached_bytes = program->prepared->bytes();
  for (const std::unique_ptr<Context> &context : program->idle) {
    stats->arena_bytes += static_cast<int64_t>(context->arena.bytes());
    stats->scratch_bytes += static_cast<int64_t>(context->scratch.bytes());
  }
}

int64_t sod2_program_steps(const sod2_program *p) {
  return static_cast<int64_t>(p->image.steps.size());
}
const char *sod2_program_step_source(const sod2_program *p, int64_t step) {
  return p->image.steps[static_cast<size_t>(step)].source;
}
int64_t sod2_program_slots(const sod2_program *p) {
  return static_cast<int64_t>(p->image.slots.size());
}
int64_t sod2_program_symbols(const sod2_program *p) {
  return static_cast<int64_t>(p->image.symbols.size());
}
const char *sod2_program_symbol(const sod2_program *p, int64_t symbol) {
  return p->image.symbols[static_cast<size_t>(symbol)].name;
}
int64_t sod2_plan_symbol(const sod2_plan *plan, int64_t symbol) {
  return plan->values[static_cast<size_t>(symbol)];
}
void sod2_plan_step(const sod2_program *program, const sod2_plan *plan, int64_t step,
                    int64_t *extent, int64_t *work) {
  const Step &s = program->image.steps[static_cast<size_t>(step)];
  auto at = static_cast<size_t>(s.at);
  *extent = 1;
  *work = plan->work[static_cast<size_t>(step)];
  if (s.kind == StepKind::Kernel) {
    *extent = plan->calls[at].extent;
    *work = plan->calls[at].work;
  } else if (s.kind == StepKind::Branch) {
    *extent = program->image.branches[at].blocks.count;
  } else if (s.kind == StepKind::Loop) {
    int64_t length = program->image.loops[at].length;
    *extent = length == kNone ? -1 : plan->values[static_cast<size_t>(length)];
  }
}
void sod2_plan_slot(const sod2_program *program, const sod2_plan *plan, int64_t slot, int64_t *kind,
                    int64_t *offset, int64_t *bytes) {
  const Slot &s = program->image.slots[static_cast<size_t>(slot)];
  *kind = static_cast<int64_t>(s.kind);
  *offset = s.offset == kNone ? 0 : plan->values[static_cast<size_t>(s.offset)];
  *bytes = plan->values[static_cast<size_t>(s.bytes)];
}
}
