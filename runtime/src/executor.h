#pragma once
#include "arena.h"
#include "prepared.h"

namespace sod2 {

class Poison;

// What one call needs besides its plan; calls of the same program at the same time have one each.
struct Context {
  Context(const Image &image, const sod2_hooks *hooks);

  Arena arena, scratch;
  std::vector<void *> slots;           // address of each slot in this call
  std::vector<void *> arguments;       // of all kernels, one call of the image after the other
  std::vector<sod2_host_array> arrays; // of the host call at hand
};

struct Executable { // what `run` reads of a program
  const Image &image;
  const sod2_kernel *kernels;
  const void *const *constants;
  const sod2_hooks &hooks;
  const Poison *poison; // or null
};

sod2_status run(const Executable &executable, const sod2_plan &plan, Context *context,
                PreparedSets *prepared, const sod2_input *inputs, void *const *outputs,
                int64_t *step_ns, sod2_error *error);

} // namespace sod2

struct sod2_program {
  sod2_hooks hooks;
  sod2::Image image;
  std::vector<sod2_kernel> kernels;
  std::vector<const void *> constants;
  std::vector<char> prepares; // of each input: whether some step prepares from it
  std::unique_ptr<sod2::PreparedSets> prepared;
  std::shared_ptr<const sod2::Poison> poison; // if the hooks ask for it

  std::mutex mutex; // of what follows
  std::vector<sod2_plan *> plans;
  uint64_t clock = 0;
  std::vector<std::unique_ptr<sod2::Context>> idle;
  int64_t contexts = 0;
};
