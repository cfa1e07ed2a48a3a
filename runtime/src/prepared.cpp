#include "prepared.h"

#include <cstring>

namespace sod2 {
namespace {

constexpr size_t kMostSets = 4;

} // namespace

PreparedSet::PreparedSet(const Image &image, const sod2_hooks *hooks)
    : bytes(static_cast<size_t>(image.cached), kNone), calls(image.calls.size()) {
  for (int64_t i = 0; i < image.cached; ++i)
    buffers.emplace_back(hooks);
}

bool is_prepared(const KernelCall &call, const PreparedSet::Call &prepared, const int64_t *sizes,
                 const sod2_input *inputs) {
  auto count = static_cast<size_t>(call.prepare.count);
  auto n_sizes = static_cast<size_t>(call.sizes.count);
  if (prepared.tokens.size() != count || prepared.sizes.size() != n_sizes ||
      (n_sizes && std::memcmp(prepared.sizes.data(), sizes, n_sizes * sizeof *sizes) != 0))
    return false;
  for (size_t i = 0; i < count; ++i) {
    uint64_t token = inputs[call.prepare[static_cast<int64_t>(i)]].token;
    if (token == 0 || token != prepared.tokens[i])
      return false;
  }
  return true;
}

void note_prepared(const KernelCall &call, PreparedSet::Call *prepared, const int64_t *sizes,
                   const sod2_input *inputs) {
  prepared->tokens.resize(static_cast<size_t>(call.prepare.count));
  for (size_t i = 0; i < prepared->tokens.size(); ++i)
    prepared->tokens[i] = inputs[call.prepare[static_cast<int64_t>(i)]].token;
  prepared->sizes.assign(sizes, sizes + call.sizes.count);
}

PreparedSets::PreparedSets(const Image &image, const sod2_hooks *hooks)
    : image_(image), hooks_(hooks), wanted_(image.cached > 0) {}

PreparedSets::~PreparedSets() = default;

bool PreparedSets::holds(const PreparedSet &set, const sod2_plan &plan,
                         const sod2_input *inputs) const {
  for (const Slot &slot : image_.slots)
    if (slot.kind == SlotKind::Cached &&
        set.bytes[static_cast<size_t>(slot.index)] != plan.values[static_cast<size_t>(slot.bytes)])
      return false;
  for (size_t i = 0; i < image_.calls.size(); ++i) {
    const KernelCall &call = image_.calls[i];
    if (call.prepare.count > 0 &&
        !is_prepared(call, set.calls[i], plan.sizes.data() + plan.calls[i].first_size, inputs))
      return false;
  }
  return true;
}

// Of the inputs that are prepared; not `known` if one of them may have changed in place.
uint64_t PreparedSets::hash(const sod2_input *inputs, bool *known) const {
  uint64_t h = 0x9e3779b97f4a7c15u;
  *known = true;
  for (const KernelCall &call : image_.calls)
    for (int64_t i = 0; i < call.prepare.count; ++i) {
      uint64_t token = inputs[call.prepare[i]].token;
      *known = *known && token != 0;
      h = (h ^ token) * 0xff51afd7ed558ccdu;
      h ^= h >> 32;
    }
  return h;
}

PreparedSet *PreparedSets::oldest_idle() {
  PreparedSet *oldest = nullptr;
  for (const std::unique_ptr<PreparedSet> &set : sets_)
    if (set->users == 0 && !set->writing && (!oldest || set->last_used < oldest->last_used))
      oldest = set.get();
  return oldest;
}

bool PreparedSets::was_taken_over(uint64_t request) {
  for (uint64_t &before : taken_over_)
    if (before == request) {
      before = 0;
      return true;
    }
  return false;
}

PreparedSet *PreparedSets::take(const sod2_plan &plan, const sod2_input *inputs, bool *fill) {
  *fill = false;
  if (!wanted_)
    return nullptr;
  std::unique_lock<std::mutex> lock(mutex_);
  bool known = true;
  const uint64_t request = hash(inputs, &known);
  for (;;) {
    bool wait = false;
    for (const std::unique_ptr<PreparedSet> &set : sets_) {
      if (set->writing) {
        wait = wait || (known && set->request == request);
      } else if (known && holds(*set, plan, inputs)) {
        ++set->users;
        set->last_used = ++clock_;
        return set.get();
      }
    }
    if (!wait)
      break;
    filled_.wait(lock);
  }
  if (known && sets_.size() >= most_ && most_ < kMostSets && was_taken_over(request))
    ++most_;
  PreparedSet *set = sets_.size() < most_ ? nullptr : oldest_idle();
  if (set) {
    if (set->request && set->request != request)
      taken_over_[next_++ % 8] = set->request;
  } else {
    sets_.push_back(std::make_unique<PreparedSet>(image_, hooks_));
    set = sets_.back().get();
  }
  set->writing = true;
  set->request = known ? request : 0;
  set->last_used = ++clock_;
  *fill = true;
  return set;
}

void PreparedSets::filled(PreparedSet *set, bool well) {
  std::lock_guard<std::mutex> lock(mutex_);
  set->writing = false;
  ++set->users; // until the caller gives it back
  if (!well)
    for (PreparedSet::Call &call : set->calls)
      call.tokens.clear();
  filled_.notify_all();
}

void PreparedSets::give_back(PreparedSet *set) {
  if (!set)
    return;
  std::unique_ptr<PreparedSet> surplus;
  std::lock_guard<std::mutex> lock(mutex_);
  --set->users;
  // Calls with other weights at the same time had sets of their own; when they are over, the memory
  // goes.
  if (sets_.size() > most_)
    if (PreparedSet *oldest = oldest_idle())
      for (std::unique_ptr<PreparedSet> &candidate : sets_)
        if (candidate.get() == oldest) {
          surplus = std::move(candidate);
          candidate = std::move(sets_.back());
          sets_.pop_back();
          break;
        }
}

int64_t PreparedSets::bytes() {
  std::lock_guard<std::mutex> lock(mutex_);
  int64_t total = 0;
  for (const std::unique_ptr<PreparedSet> &set : sets_)
    for (const Arena &buffer : set->buffers)
      total += static_cast<int64_t>(buffer.bytes());
  return total;
}

} // namespace sod2
