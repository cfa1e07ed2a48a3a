// Programs run at many sizes, from many threads; prepared buffers follow their input; memory that
// cannot be had is an error that leaves the program usable.
#include "check.h"
#include "counting.h"
#include "image_builder.h"
#include "kernels.h"

#include <cstring>
#include <thread>

namespace {

const sod2_kernel kernels[] = {copy_kernel, add_kernel, out_kernel};

sod2_program *make(const std::vector<int64_t> &words, const sod2_hooks *hooks) {
  sod2_program *program = nullptr;
  sod2_error error = {};
  CHECK(sod2_program_create(words.data(), words.size(), kernels, 3, nullptr, 0, 0, hooks, &program,
                            &error) == SOD2_OK);
  return program;
}

sod2_status run(sod2_program *program, int64_t n, int64_t m, float weight, uint64_t token,
                sod2_error *error = nullptr) {
  int64_t dims[] = {n, m, m};
  sod2_plan *plan = nullptr;
  CHECK(sod2_plan_acquire(program, dims, 3, &plan, error) == SOD2_OK);
  std::vector<float> x(static_cast<size_t>(n * m)), w(static_cast<size_t>(m), weight),
      y(x.size() + 16, -1);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(i);
  sod2_input inputs[] = {{x.data(), 0}, {w.data(), token}};
  void *outputs[] = {y.data()};
  sod2_status status = sod2_run(program, plan, inputs, outputs, nullptr, error);
  sod2_plan_release(plan);
  for (size_t i = 0; i < x.size() && !status; ++i)
    CHECK(y[i] == x[i] + weight);
  CHECK(y[x.size()] == -1);
  return status;
}

} // namespace

int main() {
  std::vector<int64_t> words = axpy_image();
  Counting counting;
  sod2_program *program = make(words, &counting.hooks);
  CHECK(sod2_program_prepares(program, 1) && !sod2_program_prepares(program, 0));
  for (int64_t n : {0, 1, 2, 7, 64, 301})
    for (int64_t m : {0, 1, 2, 3, 31, 500})
      CHECK(run(program, n, m, 1.5f, 0) == SOD2_OK);

  // Prepared once per token; again for another token, another size, or an unknown one.
  prepares = 0;
  run(program, 2, 3, 1.0f, 7);
  CHECK(prepares == 1);
  run(program, 2, 3, 1.0f, 7);
  run(program, 5, 3, 1.0f, 7); // n does not matter to it
  CHECK(prepares == 1);
  run(program, 2, 3, 2.0f, 8);
  CHECK(prepares == 2);
  run(program, 2, 4, 2.0f, 8);
  CHECK(prepares == 3);
  run(program, 2, 3, 3.0f, 0);
  run(program, 2, 3, 4.0f, 0);
  CHECK(prepares == 5);

  // Two sets of weights in turn are both kept, once that was seen; calls with the same weights
  // share one set.
  run(program, 2, 3, 1.0f, 21);
  for (int i = 0; i < 3; ++i) {
    run(program, 2, 3, 1.0f, 21);
    run(program, 2, 3, 2.0f, 22);
  }
  prepares = 0;
  for (int i = 0; i < 3; ++i) {
    run(program, 2, 3, 1.0f, 21);
    run(program, 2, 3, 2.0f, 22);
  }
  CHECK(prepares == 0);
  {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([=] {
        for (int64_t i = 0; i < 200; ++i)
          run(program, 1 + i % 9, 3, 9.0f, 23);
      });
    for (std::thread &thread : threads)
      thread.join();
  }
  CHECK(prepares == 1);

  // Many threads at once, each with its own weights and sizes.
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([=] {
      for (int64_t i = 0; i < 50; ++i)
        CHECK(run(program, 1 + (i * 7 + t) % 90, 1 + (i * 11) % 700 + (i == 12),
                  static_cast<float>(t), 100 + static_cast<uint64_t>(t)) == SOD2_OK);
    });
  for (std::thread &thread : threads)
    thread.join();
  sod2_program_destroy(program);
  CHECK(counting.allocations == counting.frees && counting.bytes == 0);

  // No memory: an error with bytes and formula, and the next smaller call works.
  program = make(words, &counting.hooks);
  CHECK(run(program, 10, 10, 1, 1) == SOD2_OK);
  counting.limit = 100000;
  sod2_error error = {};
  CHECK(run(program, 1000, 1000, 1, 1, &error) == SOD2_NO_MEMORY);
  CHECK(std::strstr(error.message, "4000000 bytes for the arena, which is v5"));
  CHECK(run(program, 10, 10, 1, 1) == SOD2_OK);
  counting.limit = 0;
  CHECK(run(program, 2, 40, 1, 1, &error) == SOD2_NO_MEMORY); // the cached buffer
  counting.limit = -1;
  CHECK(run(program, 1000, 1000, 2, 1) == SOD2_OK);
  sod2_program_destroy(program);
  CHECK(counting.bytes == 0);

  // More shapes than plans are kept.
  program = make(words, nullptr);
  for (int64_t n = 1; n < 200; ++n)
    CHECK(run(program, n, 2, 1, 1) == SOD2_OK);
  sod2_program_stats stats;
  sod2_program_get_stats(program, &stats);
  CHECK(stats.plans == 64 && stats.contexts == 1);
  sod2_program_destroy(program);

  sod2_program *none = nullptr;
  CHECK(sod2_program_create(words.data(), words.size(), kernels, 2, nullptr, 0, 0, nullptr, &none,
                            &error) == SOD2_BAD_ARGUMENT);
  CHECK(!none);
  return 0;
}
