#pragma once
#include "sod2rt_more.h"

#include <mutex>
#include <vector>

// Output blocks. A block that its owner returned waits in the list of its size class for the next
// output of that size; so a steady stream of calls allocates nothing. Idle blocks beyond what
// was in use at once lately are given back.
struct sod2_block_pool {
  explicit sod2_block_pool(const sod2_hooks *hooks);

  void *get(size_t bytes);
  void put(void *data);
  static size_t bytes_of(const void *data);
  void close(); // deletes the pool as soon as no block is in use
  void stats(int64_t *live_bytes, int64_t *idle_bytes);

private:
  struct Block;
  static size_t class_bytes(size_t bytes, size_t *number);
  static void release(const sod2_hooks &hooks, Block *list);
  ~sod2_block_pool() = default;

  sod2_hooks hooks_;
  std::mutex mutex_;
  std::vector<Block *> idle_; // head of each size class's list
  size_t live_ = 0, idle_bytes_ = 0, recent_ = 0;
  bool closed_ = false;
};
