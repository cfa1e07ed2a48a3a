#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace sod2 {

// Runs one parallel loop at a time over its workers and the caller.
//
//  * Each thread owns a contiguous range, taken in chunks; who is done helps the others. So
//  consecutive loops touch the
//    same memory from the same thread, and an uneven load still ends evenly.
//  * Workers spin for a short while after a loop (the next step comes in microseconds), then sleep.
//  * A worker that the system wakes on the caller's CPU leaves it: the two would take turns there for
//  milliseconds, beside an idle CPU.
//  * A loop waits only for workers that joined it: one that the system has not woken yet comes too
//  late and goes back to wait.
//  * A second caller does not wait: it runs its loop alone.
class ThreadPool {
public:
  using Body = void (*)(void *context, int64_t begin, int64_t end, int thread);

  static ThreadPool &global();
  ~ThreadPool();

  int threads() const { return wanted_.load(std::memory_order_relaxed); }
  void set_threads(int count);
  // `grain`: least number of iterations worth a chunk. Thread numbers are below `threads()` as it
  // was at the call.
  void run(int threads, int64_t extent, int64_t grain, Body body, void *context);

private:
  struct alignas(64) Range {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  ThreadPool();
  void start(int workers);
  void stop();
  void work(int thread, uint64_t seen);
  void take_chunks(int thread);

  std::atomic<int> wanted_;
  std::mutex owner_; // held by the caller whose loop runs
  std::vector<std::thread> workers_;
  std::vector<Range> ranges_;

  // The loop at hand. Only the caller writes these, while the gate is closed and nobody is inside.
  Body body_ = nullptr;
  void *context_ = nullptr;
  int64_t chunk_ = 1;
  int loop_threads_ = 0;
  alignas(64) std::atomic<uint64_t> gate_{
      0}; // number of the loop, whether it is open, how many workers joined
  alignas(64) std::atomic<uint64_t> left_{0}; // how many of those are done
  std::atomic<bool> stopping_{false};
  std::mutex sleep_;
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
  std::atomic<int> caller_cpu_{-1}; // as it woke the sleepers
};

} // namespace sod2
