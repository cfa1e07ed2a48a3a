#pragma once
#include "arena.h"
#include "plan.h"

#include <condition_variable>
#include <mutex>

namespace sod2 {

// The prepared buffers of one set of inputs (packed weights), and what they were prepared from.
struct PreparedSet {
  PreparedSet(const Image &image, const sod2_hooks *hooks);

  struct Call {
    std::vector<uint64_t> tokens; // of the inputs that it read; empty: nothing is prepared
    std::vector<int64_t> sizes;
  };
  std::vector<Arena> buffers; // of each cached slot
  std::vector<int64_t> bytes; // of each, when it was filled
  std::vector<Call> calls;    // of each kernel call of the program
  int users = 0;              // calls that read it now
  bool writing = false;       // one call fills it, and no other reads it
  uint64_t request = 0, last_used = 0;
};

// All prepared sets of a program. Calls with the same weights share one set, also at the same time;
// a set is filled by one call while others with the same weights wait. Calls with other weights
// take over the set that was used longest ago; only if sets are wanted again that were taken over
// lately (two models called in turn), a few of them are kept.
class PreparedSets {
public:
  PreparedSets(const Image &image, const sod2_hooks *hooks);
  ~PreparedSets();

  // A set that holds what this call wants (`*fill` is false), or one that the caller must fill
  // before it reads it.
  PreparedSet *take(const sod2_plan &plan, const sod2_input *inputs, bool *fill);
  // Of one that the caller was to fill: from now on others may read it as well, unless that failed.
  void filled(PreparedSet *set, bool well);
  void give_back(PreparedSet *set);
  int64_t bytes();

private:
  bool holds(const PreparedSet &set, const sod2_plan &plan, const sod2_input *inputs) const;
  uint64_t hash(const sod2_input *inputs, bool *known) const;
  PreparedSet *oldest_idle();
  bool was_taken_over(uint64_t request);

  const Image &image_;
  const sod2_hooks *hooks_;
  bool wanted_ = false; // the program has cached slots
  std::mutex mutex_;
  std::condition_variable filled_;
  std::vector<std::unique_ptr<PreparedSet>> sets_;
  uint64_t taken_over_[8] = {};
  size_t next_ = 0, most_ = 1;
  uint64_t clock_ = 0;
};

// Whether the call's buffer in `set` holds what it would write for these inputs.
bool is_prepared(const KernelCall &call, const PreparedSet::Call &prepared, const int64_t *sizes,
                 const sod2_input *inputs);
void note_prepared(const KernelCall &call, PreparedSet::Call *prepared, const int64_t *sizes,
                   const sod2_input *inputs);

} // namespace sod2
