#pragma once
#include "sod2rt.h"

namespace sod2 {

constexpr size_t kAlign = 64; // a cache line, and the widest vector

sod2_hooks complete(const sod2_hooks *hooks); // fills the defaults in

// A buffer that only grows: after the largest shape was seen, nothing is allocated any more.
class Arena {
public:
  explicit Arena(const sod2_hooks *hooks) : hooks_(hooks) {}
  ~Arena();
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;
  Arena(Arena &&other) noexcept;

  bool reserve(size_t bytes); // the contents are lost if it grows; false: no memory, and the old
                              // buffer is gone
  char *data() const { return data_; }
  size_t bytes() const { return bytes_; }

private:
  const sod2_hooks *hooks_;
  char *data_ = nullptr;
  size_t bytes_ = 0;
};

} // namespace sod2
