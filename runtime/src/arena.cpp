#include "arena.h"

#include <cstdlib>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(_WIN32)
#include <malloc.h>
#endif

namespace sod2 {
namespace {

constexpr size_t kHugePage = size_t(2) << 20;

void *default_alloc(void *, size_t bytes, size_t align) {
#if defined(_WIN32)
  return _aligned_malloc(bytes, align);
#else
  // Big buffers on huge pages: a new shape's first touch costs one page fault per 2 MiB instead of
  // one per 4 KiB.
  bool huge = bytes >= 2 * kHugePage;
  void *data = nullptr;
  if (posix_memalign(&data, huge ? kHugePage : align, bytes))
    return nullptr;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (huge)
    (void)madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
#endif
}

void default_free(void *, void *data, size_t) {
#if defined(_WIN32)
  _aligned_free(data);
#else
  std::free(data);
#endif
}

} // namespace

sod2_hooks complete(const sod2_hooks *hooks) {
  sod2_hooks full = hooks ? *hooks : sod2_hooks{};
  if (!full.alloc || !full.free) {
    full.alloc = default_alloc;
    full.free = default_free;
  }
  return full;
}

Arena::Arena(Arena &&other) noexcept
    : hooks_(other.hooks_), data_(other.data_), bytes_(other.bytes_) {
  other.data_ = nullptr;
  other.bytes_ = 0;
}

Arena::~Arena() {
  if (data_)
    hooks_->free(hooks_->user, data_, bytes_);
}

bool Arena::reserve(size_t bytes) {
  if (bytes <= bytes_)
    return true;
  // The old buffer goes first: a peak of both at once would exceed what the memory plan promised.
  if (data_)
    hooks_->free(hooks_->user, data_, bytes_);
  bytes = (bytes + kAlign - 1) / kAlign * kAlign;
  data_ = static_cast<char *>(hooks_->alloc(hooks_->user, bytes, kAlign));
  bytes_ = data_ ? bytes : 0;
  return data_ != nullptr;
}

} // namespace sod2
