#include "thread_pool.h"

#include <cstdlib>
#include <new>
#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif
#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__)
#include <immintrin.h>
#endif

namespace sod2 {
namespace {

constexpr int kMostThreads = 512;
constexpr int kSpins = 4000;                                             // about 50 us
constexpr uint64_t kOpen = uint64_t(1) << 16, kLoop = uint64_t(1) << 17; // fields of the gate

void pause_cpu() {
#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ __volatile__("yield");
#endif
}

int default_threads() {
  if (const char *text = std::getenv("SOD2_NUM_THREADS")) {
    int count = std::atoi(text);
    if (count > 0)
      return count < kMostThreads ? count : kMostThreads;
  }
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    return CPU_COUNT(&set);
#endif
  unsigned count = std::thread::hardware_concurrency();
  return count ? static_cast<int>(count) : 1;
}

// The CPU that this thread runs on; -1 where nobody says.
int this_cpu() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Moves this thread off a CPU, if it may run on others.
void leave(int cpu) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    return; // more CPUs than the set has
  cpu_set_t others = allowed;
  CPU_CLR(static_cast<size_t>(cpu), &others);
  if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
    sched_setaffinity(0, sizeof allowed, &allowed);
#else
  (void)cpu;
#endif
}

ThreadPool *the_pool = nullptr;

} // namespace

ThreadPool &ThreadPool::global() {
  static ThreadPool *pool = [] {
#if !defined(_WIN32)
    // A forked child has none of its parent's threads: it begins with a new pool, and the old one
    // is left alone.
    pthread_atfork(nullptr, nullptr, [] {
      if (the_pool) {
        int threads = the_pool->threads();
        new (the_pool) ThreadPool();
        the_pool->wanted_ = threads;
      }
    });
#endif
    return the_pool = new ThreadPool();
  }();
  // Never destroyed: threads that outlive main would otherwise use it after its end.
  return *pool;
}

ThreadPool::ThreadPool() : wanted_(default_threads()) {}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::set_threads(int count) {
  std::lock_guard<std::mutex> lock(owner_);
  wanted_ = count < 1 ? default_threads() : count < kMostThreads ? count : kMostThreads;
  stop();
}

void ThreadPool::start(int workers) {
  stopping_ = false;
  std::vector<Range> ranges(static_cast<size_t>(workers) + 1);
  ranges_.swap(ranges);
  uint64_t seen = gate_.load() / kLoop;
  for (int i = 0; i < workers; ++i)
    workers_.emplace_back([this, i, seen] { work(i + 1, seen); });
}

void ThreadPool::stop() {
  {
    std::lock_guard<std::mutex> lock(sleep_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread &worker : workers_)
    worker.join();
  workers_.clear();
}

void ThreadPool::take_chunks(int thread) {
  for (int i = 0; i < loop_threads_; ++i) {
    int owner = thread + i < loop_threads_ ? thread + i : thread + i - loop_threads_;
    Range &range = ranges_[static_cast<size_t>(owner)];
    while (range.next.load(std::memory_order_relaxed) < range.end) {
      int64_t begin = range.next.fetch_add(chunk_, std::memory_order_relaxed);
      if (begin >= range.end)
        break;
      int64_t end = range.end - begin < chunk_ ? range.end : begin + chunk_;
      body_(context_, begin, end, thread);
    }
  }
}

void ThreadPool::work(int thread, uint64_t seen) {
  for (;;) {
    uint64_t gate = gate_.load(std::memory_order_acquire);
    for (int spin = 0;
         gate / kLoop == seen && spin < kSpins && !stopping_.load(std::memory_order_relaxed);
         ++spin) {
      pause_cpu();
      gate = gate_.load(std::memory_order_acquire);
    }
    if (gate / kLoop == seen) {
      std::unique_lock<std::mutex> lock(sleep_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, [&] { return stopping_ || gate_.load() / kLoop != seen; });
      sleepers_.fetch_sub(1);
      if (stopping_)
        return;
      if (int cpu = this_cpu(); cpu >= 0 && cpu == caller_cpu_.load(std::memory_order_relaxed))
        leave(cpu);
      continue;
    }
    while (gate & kOpen) {
      if (!gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel))
        continue;
      if (thread < loop_threads_)
        take_chunks(thread);
      left_.fetch_add(1, std::memory_order_release);
      break;
    }
    seen = gate / kLoop;
  }
}

void ThreadPool::run(int threads, int64_t extent, int64_t grain, Body body, void *context) {
  if (threads > extent)
    threads = static_cast<int>(extent);
  std::unique_lock<std::mutex> lock(owner_, std::defer_lock);
  if (threads <= 1 || !lock.try_lock()) {
    body(context, 0, extent, 0);
    return;
  }
  int wanted = this->threads();
  if (threads > wanted)
    threads = wanted;
  if (static_cast<int>(workers_.size()) != wanted - 1) {
    stop();
    start(wanted - 1);
  }
  body_ = body;
  context_ = context;
  loop_threads_ = threads;
  chunk_ = extent / (threads * 4);
  chunk_ = chunk_ < grain ? grain : chunk_;
  int64_t begin = 0;
  for (int i = 0; i < threads; ++i) {
    int64_t end =
        extent / threads * (i + 1) + (i + 1 <= extent % threads ? i + 1 : extent % threads);
    ranges_[static_cast<size_t>(i)].next.store(begin, std::memory_order_relaxed);
    ranges_[static_cast<size_t>(i)].end = end;
    begin = end;
  }
  left_.store(0, std::memory_order_relaxed);
  uint64_t number = gate_.load(std::memory_order_relaxed) / kLoop + 1;
  gate_.store(
      number * kLoop |
      kOpen); // in one order with `sleepers_`: the sleeper sees the loop, or we see the sleeper
  if (sleepers_.load() > 0) {
    caller_cpu_.store(this_cpu(), std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> sleep(sleep_);
    }
    wake_.notify_all();
  }
  take_chunks(0);
  uint64_t joined = gate_.fetch_and(~kOpen, std::memory_order_acq_rel) % kOpen;
  // With more threads than free CPUs, spinning would keep the very worker that we wait for off its
  // CPU.
  for (int spin = 0; left_.load(std::memory_order_acquire) < joined; ++spin) {
    if (spin < kSpins)
      pause_cpu();
    else
      std::this_thread::yield();
  }
}

} // namespace sod2
