// The pool of output blocks: aligned, reused, bounded, and safe to close while blocks are in use.
#include "check.h"
#include "counting.h"
#include "sod2rt_more.h"

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

int main() {
  Counting counting;
  sod2_block_pool *pool = sod2_block_pool_create(&counting.hooks);
  for (size_t bytes :
       {0, 1, 63, 64, 511, 512, 513, 576, 4096, 5000, 1 << 20, (1 << 20) + 1, 12345678}) {
    auto *data = static_cast<char *>(sod2_block_get(pool, bytes));
    CHECK(data && reinterpret_cast<uintptr_t>(data) % 64 == 0);
    std::memset(data, 1, bytes);
    std::memset(data - SOD2_BLOCK_HEADER - 64, 2, SOD2_BLOCK_HEADER); // the owner's header
    sod2_block_put(data);
    CHECK(sod2_block_get(pool, bytes) == data); // the same block again
    sod2_block_put(data);
  }
  // What is idle never exceeds what was in use at once (or 32 MiB).
  std::vector<void *> blocks;
  for (size_t i = 0; i < 20; ++i)
    blocks.push_back(sod2_block_get(pool, 10 << 20));
  for (void *block : blocks)
    sod2_block_put(block);
  int64_t live = 0, idle = 0;
  sod2_block_pool_stats(pool, &live, &idle);
  CHECK(live == 0 && idle <= 21ll * (12 << 20));
  for (size_t i = 0; i < 60; ++i) // other sizes do not pile up
    sod2_block_put(sod2_block_get(pool, (5 + i) << 20));
  sod2_block_pool_stats(pool, &live, &idle);
  CHECK(live == 0 && idle <= 256ll << 20);

  for (size_t i = 0; i < 1000; ++i) // a burst is forgotten
    sod2_block_put(sod2_block_get(pool, 100));
  sod2_block_pool_stats(pool, &live, &idle);
  CHECK(live == 0 && idle <= 32ll << 20);

  CHECK(!sod2_block_get(pool, SIZE_MAX / 2) && !sod2_block_get(pool, SIZE_MAX));
  counting.limit = counting.bytes.load();
  CHECK(!sod2_block_get(pool, 1000ll << 20));
  counting.limit = -1;

  std::vector<std::thread> threads; // taken by one thread, returned by any
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([] {
      sod2_block_pool *own = sod2_block_pool_create(nullptr);
      void *last = nullptr;
      for (size_t i = 0; i < 2000; ++i) {
        void *block = sod2_block_get(own, i * 3);
        if (last)
          sod2_block_put(last);
        last = block;
      }
      sod2_block_pool_destroy(own);
      sod2_block_put(last); // the pool outlived its owner for this block
    });
  for (std::thread &thread : threads)
    thread.join();
  sod2_block_pool_destroy(pool);
  CHECK(counting.bytes == 0 && counting.allocations == counting.frees);
  return 0;
}
