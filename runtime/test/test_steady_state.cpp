// In steady state nothing is allocated: neither by the hooks nor by operator new, over calls of
// shapes seen before.
#include "check.h"
#include "counting.h"
#include "image_builder.h"
#include "kernels.h"

int main() {
  std::vector<int64_t> words = axpy_image();
  const sod2_kernel kernels[] = {copy_kernel, add_kernel, out_kernel};
  Counting counting;
  sod2_program *program = nullptr;
  CHECK(sod2_program_create(words.data(), words.size(), kernels, 3, nullptr, 0, 0, &counting.hooks,
                            &program, nullptr) == SOD2_OK);
  sod2_block_pool *pool = sod2_block_pool_create(&counting.hooks);
  std::vector<float> x(64 * 300), w(300);
  auto call = [&](int64_t n, int64_t m) {
    int64_t dims[] = {n, m, m};
    sod2_plan *plan = nullptr;
    CHECK(sod2_plan_acquire(program, dims, 3, &plan, nullptr) == SOD2_OK);
    sod2_input inputs[] = {{x.data(), 1}, {w.data(), 2}};
    void *outputs[] = {sod2_block_get(pool, static_cast<size_t>(sod2_plan_output_bytes(plan, 0)))};
    CHECK(sod2_run(program, plan, inputs, outputs, nullptr, nullptr) == SOD2_OK);
    sod2_block_put(outputs[0]);
    sod2_plan_release(plan);
  };
  auto round = [&] {
    for (int64_t n : {1, 17, 64})
      for (int64_t m : {1, 40, 300})
        call(n, m);
  };
  round();
  round();
  long allocations = counting.allocations, made = news();
  for (int i = 0; i < 50; ++i)
    round();
  CHECK(counting.allocations == allocations);
  CHECK(news() == made);
  sod2_program_destroy(program);
  sod2_block_pool_destroy(pool);
  CHECK(counting.bytes == 0);
  return 0;
}
