#include "block_pool.h"

#include "arena.h"

#include <new>

// The header lies right before the data, after the owner's SOD2_BLOCK_HEADER bytes.
struct sod2_block_pool::Block {
  sod2_block_pool *pool;
  Block *next;
  size_t number, bytes; // size class, bytes of the data
};

namespace {

constexpr size_t kFront = SOD2_BLOCK_HEADER + sod2::kAlign;
constexpr size_t kAlwaysKept = size_t(32) << 20;
constexpr size_t kClasses = 8 * 64;

void *owner_of(void *data) { return static_cast<char *>(data) - sod2::kAlign; }
const void *owner_of(const void *data) { return static_cast<const char *>(data) - sod2::kAlign; }

} // namespace

sod2_block_pool::sod2_block_pool(const sod2_hooks *hooks)
    : hooks_(sod2::complete(hooks)), idle_(kClasses, nullptr) {}

// Eight classes per doubling: at most an eighth is wasted, and neighbouring sizes of a stream of
// shapes share blocks.
size_t sod2_block_pool::class_bytes(size_t bytes, size_t *number) {
  bytes = bytes < 512 ? 512 : bytes;
  size_t doubling = 9;
  while (bytes >> (doubling + 1))
    ++doubling;
  size_t step = size_t(1) << (doubling - 3),
         part = (bytes - (size_t(1) << doubling) + step - 1) / step;
  *number = doubling * 8 + part;
  return (size_t(1) << doubling) + part * step;
}

void *sod2_block_pool::get(size_t bytes) {
  if (bytes > (SIZE_MAX >> 2))
    return nullptr;
  size_t number = 0, room = class_bytes(bytes, &number);
  Block *block = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    block = idle_[number];
    if (block) {
      idle_[number] = block->next;
      idle_bytes_ -= room;
    }
    live_ += room;
    recent_ = live_ > recent_ ? live_ : recent_;
  }
  if (block)
    return reinterpret_cast<char *>(block) + sod2::kAlign;
  auto *raw = static_cast<char *>(hooks_.alloc(hooks_.user, room + kFront, sod2::kAlign));
  if (!raw) {
    std::lock_guard<std::mutex> lock(mutex_);
    live_ -= room;
    return nullptr;
  }
  new (raw + SOD2_BLOCK_HEADER) Block{this, nullptr, number, room};
  return raw + kFront;
}

void sod2_block_pool::release(const sod2_hooks &hooks, Block *list) {
  while (Block *block = list) {
    list = block->next;
    hooks.free(hooks.user, reinterpret_cast<char *>(block) - SOD2_BLOCK_HEADER,
               block->bytes + kFront);
  }
}

void sod2_block_pool::put(void *data) {
  auto *block = static_cast<Block *>(owner_of(data));
  Block *surplus = nullptr;
  sod2_hooks hooks;
  bool last = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    hooks = hooks_; // the pool may be gone after the lock
    live_ -= block->bytes;
    // What was in use at once lately: one burst of large outputs is forgotten after some hundred
    // small ones.
    size_t faded = recent_ - recent_ / 64;
    recent_ = live_ > faded ? live_ : faded;
    block->next = idle_[block->number];
    idle_[block->number] = block;
    idle_bytes_ += block->bytes;
    size_t limit = closed_ ? 0 : recent_ + recent_ / 8;
    limit = !closed_ && limit < kAlwaysKept ? kAlwaysKept : limit;
    for (size_t number = kClasses; idle_bytes_ > limit && number-- > 0;)
      while (idle_[number] && idle_bytes_ > limit) {
        Block *extra = idle_[number];
        idle_[number] = extra->next;
        idle_bytes_ -= extra->bytes;
        extra->next = surplus;
        surplus = extra;
      }
    last = closed_ && live_ == 0;
  }
  release(hooks, surplus);
  if (last)
    delete this;
}

size_t sod2_block_pool::bytes_of(const void *data) {
  return static_cast<const Block *>(owner_of(data))->bytes;
}

void sod2_block_pool::close() {
  bool last = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    for (Block *&head : idle_) {
      release(hooks_, head);
      head = nullptr;
    }
    idle_bytes_ = 0;
    last = live_ == 0;
  }
  if (last)
    delete this;
}

void sod2_block_pool::stats(int64_t *live_bytes, int64_t *idle_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  *live_bytes = static_cast<int64_t>(live_);
  *idle_bytes = static_cast<int64_t>(idle_bytes_);
}

extern "C" {

sod2_block_pool *sod2_block_pool_create(const sod2_hooks *hooks) {
  return new sod2_block_pool(hooks);
}
void sod2_block_pool_destroy(sod2_block_pool *pool) {
  if (pool)
    pool->close();
}
void *sod2_block_get(sod2_block_pool *pool, size_t bytes) { return pool->get(bytes); }
void sod2_block_put(void *data) {
  // The pool's address comes first in a block's header.
  (*static_cast<sod2_block_pool **>(owner_of(data)))->put(data);
}
size_t sod2_block_bytes(const void *data) { return sod2_block_pool::bytes_of(data); }
void sod2_block_pool_stats(sod2_block_pool *pool, int64_t *live_bytes, int64_t *idle_bytes) {
  pool->stats(live_bytes, idle_bytes);
}
}
