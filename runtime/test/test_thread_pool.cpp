// Every iteration runs exactly once, at any number of threads, from several callers, and in a
// forked child.
#include "check.h"
#include "thread_pool.h"

#include "sod2rt_more.h"

#include <chrono>
#include <memory>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

using sod2::ThreadPool;

namespace {

struct Counts {
  explicit Counts(int64_t n) : size(n), hits(new std::atomic<int>[static_cast<size_t>(n) + 1]()) {}
  int64_t size;
  std::unique_ptr<std::atomic<int>[]> hits;
  std::atomic<int> highest{0};
};

void count(void *context, int64_t begin, int64_t end, int thread) {
  auto *counts = static_cast<Counts *>(context);
  CHECK(begin >= 0 && begin < end && end <= counts->size);
  for (int64_t i = begin; i < end; ++i)
    ++counts->hits[static_cast<size_t>(i)];
  int seen = counts->highest;
  while (thread > seen && !counts->highest.compare_exchange_weak(seen, thread))
    ;
}

void loop(int threads, int64_t extent, int64_t grain) {
  Counts counts(extent);
  ThreadPool::global().run(threads, extent, grain, count, &counts);
  for (int64_t i = 0; i < extent; ++i)
    CHECK(counts.hits[static_cast<size_t>(i)] == 1);
  CHECK(counts.highest < (threads > 1 ? threads : 1));
}

// Sleeping workers that wake on the caller's CPU move away; they may run afterwards where they could
// before.
void keeps_affinity() {
#if defined(__linux__)
  static cpu_set_t before;
  CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
  auto same = [](void *, int64_t begin, int64_t end, int) {
    cpu_set_t now;
    CHECK(sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &before));
    auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(20 * (end - begin));
    while (std::chrono::steady_clock::now() < until) // long enough for sleepers to join
      ;
  };
  for (int i = 0; i < 100; ++i) {
    ThreadPool::global().run(4, 64, 1, same, nullptr);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
#endif
}

} // namespace

int main() {
  CHECK(sod2_threads() == 4); // SOD2_NUM_THREADS
  for (int threads : {1, 2, 3, 4, 9})
    for (int64_t extent : {1, 2, 3, 5, 64, 1000, 12345})
      for (int64_t grain : {1, 7, 100000})
        loop(threads, extent, grain);
  for (int i = 0; i < 3000; ++i)
    loop(4, 17, 1);
  for (int threads : {2, 7, 1, 4}) {
    sod2_set_threads(threads);
    CHECK(sod2_threads() == threads);
    for (int i = 0; i < 100; ++i)
      loop(threads, 100, 1);
  }
  keeps_affinity();
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([] {
      for (int i = 0; i < 500; ++i)
        loop(4, 50 + i, 1);
    });
  for (std::thread &caller : callers)
    caller.join();
#if !defined(__SANITIZE_THREAD__) // it cannot follow a fork
  if (pid_t child = fork(); child == 0) {
    for (int i = 0; i < 100; ++i)
      loop(4, 100, 1);
    _exit(sod2_threads() == 4 ? 0 : 1);
  } else {
    int status = 1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
#endif
  loop(4, 100, 1);
  sod2_set_threads(0); // back to the default
  CHECK(sod2_threads() == 4);
  return 0;
}
