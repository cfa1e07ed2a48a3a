#include "counting.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<long> all_news{0};

void *count_alloc(void *user, size_t bytes, size_t align) {
  auto *counting = static_cast<Counting *>(user);
  if (counting->limit >= 0 && counting->bytes + static_cast<long long>(bytes) > counting->limit)
    return nullptr;
  ++counting->allocations;
  counting->bytes += static_cast<long long>(bytes);
  void *data = nullptr;
  return posix_memalign(&data, align, bytes) ? nullptr : data;
}

void count_free(void *user, void *data, size_t bytes) {
  auto *counting = static_cast<Counting *>(user);
  ++counting->frees;
  counting->bytes -= static_cast<long long>(bytes);
  std::free(data);
}

} // namespace

Counting::Counting() : hooks{this, count_alloc, count_free, nullptr, nullptr, 0} {}

long news() { return all_news.load(); }

void *operator new(size_t bytes) {
  ++all_news;
  void *data = std::malloc(bytes ? bytes : 1);
  if (!data)
    std::abort();
  return data;
}
void operator delete(void *data) noexcept { std::free(data); }
void operator delete(void *data, size_t) noexcept { std::free(data); }
