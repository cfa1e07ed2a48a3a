// Loops, branches and host calls: state that changes places comes out right after any number of
// iterations; hooks see what they should, and a run that failed leaves the program usable.
#include "check.h"
#include "counting.h"
#include "image_builder.h"
#include "plan.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

using namespace sod2;

namespace {

void copy(void **b, const int64_t *, int64_t begin, int64_t end, void *) {
  std::memcpy(static_cast<float *>(b[1]) + begin, static_cast<float *>(b[0]) + begin,
              static_cast<size_t>(end - begin) * sizeof(float));
}
void add(void **b, const int64_t *sizes, int64_t begin, int64_t end, void *) { // b[1] = b[0] + size
  for (int64_t i = begin; i < end; ++i)
    static_cast<float *>(b[1])[i] =
        static_cast<const float *>(b[0])[i] + static_cast<float>(sizes[0]);
}
void below(void **b, const int64_t *sizes, int64_t, int64_t, void *) { // a bool from a counter
  *static_cast<bool *>(b[1]) = *static_cast<int64_t *>(b[0]) < sizes[0];
}
void narrow(void **b, const int64_t *sizes, int64_t, int64_t, void *) { // int32 = counter + size
  *static_cast<int32_t *>(b[1]) = static_cast<int32_t>(*static_cast<int64_t *>(b[0]) + sizes[0]);
}
const sod2_kernel kernels[] = {copy, add, below, narrow};
enum Kernel { kCopy, kAdd, kBelow, kNarrow };
enum SlotNumber { kX, kA, kB, kC, kI, kJ, kPred, kIndex, kY, kConst };

// y[n] made from x[n]; loops run k (the axis of a second input) and m times. The steps are the
// test's own.
struct Sample : ImageBuilder {
  int64_t n = symbol("n", 0, 0), k = symbol("k", 1, 0), m = symbol("m", 2, 0);
  int64_t zero = constant(0), one = constant(1), eight = constant(8), count = times(n, constant(4));
  // Sixty-four bytes are a multiple of what slots must start at.
  int64_t room = times(count, constant(64));

  Sample() {
    int64_t a = zero, b = binary(Op::Add, a, room), c = binary(Op::Add, b, room),
            rest = binary(Op::Add, c, room), line = constant(64);
    inputs = {{"x", {n}}, {"k", {k}}, {"m", {m}}};
    slots = {{SlotKind::Input, 0, count, kNone},
             {SlotKind::Arena, 0, count, a},
             {SlotKind::Arena, 1, count, b},
             {SlotKind::Arena, 2, count, c},
             {SlotKind::Arena, 3, eight, rest},
             {SlotKind::Arena, 4, eight, next(&rest, line)},
             {SlotKind::Arena, 5, one, next(&rest, line)},
             {SlotKind::Arena, 6, constant(4), next(&rest, line)},
             {SlotKind::Output, 0, count, kNone},
             {SlotKind::Constant, 0, eight, kNone}};
    arena = binary(Op::Add, rest, line);
    ImageBuilder::kernels = 4;
    constants = 1;
    output({n}, kY);
  }
  int64_t next(int64_t *at, int64_t line) { return *at = binary(Op::Add, *at, line); }
  void call(Kernel kernel, int64_t from, int64_t to, int64_t size, int64_t work = -1) {
    int64_t extent = kernel == kCopy || kernel == kAdd ? n : one;
    step({kernel, {from, to}, {size}, extent, work < 0 ? extent : work, zero});
  }
};

struct Hooks {
  std::function<sod2_status(int64_t, const sod2_host_array *, const sod2_host_array *)> host;
  std::function<int()> poll;
};

sod2_status host_hook(void *user, int64_t function, const sod2_host_array *reads, size_t,
                      const sod2_host_array *writes, size_t, sod2_error *error) {
  error->status = SOD2_HOST;
  return static_cast<Hooks *>(user)->host(function, reads, writes);
}
int poll_hook(void *user) { return static_cast<Hooks *>(user)->poll(); }

struct Runner {
  std::vector<int64_t> words;
  sod2_program *program = nullptr;
  sod2_error error = {};
  Hooks hooks;

  explicit Runner(const Sample &sample) : words(sample.words()) {
    static const int64_t constant = 5;
    const void *constants[] = {&constant};
    sod2_hooks given = {&hooks, nullptr, nullptr, host_hook, poll_hook, 0};
    hooks.poll = [] { return 0; };
    CHECK(sod2_program_create(words.data(), words.size(), kernels, 4, constants, 1, 1, &given,
                              &program, &error) == SOD2_OK);
  }
  ~Runner() { sod2_program_destroy(program); }

  std::vector<int64_t> step_ns;
  // y - x, which is the same everywhere; -1 if the run failed.
  float operator()(int64_t k, int64_t m = 0, int64_t n = 37, sod2_status wanted = SOD2_OK) {
    int64_t dims[] = {n, k, m};
    sod2_plan *plan = nullptr;
    CHECK(sod2_plan_acquire(program, dims, 3, &plan, &error) == SOD2_OK);
    std::vector<float> x(static_cast<size_t>(n)), y(x.size(), -1);
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = static_cast<float>(i);
    sod2_input inputs[] = {{x.data(), 0}, {nullptr, 0}, {nullptr, 0}};
    void *outputs[] = {y.data()};
    step_ns.assign(static_cast<size_t>(sod2_program_steps(program)), -1);
    sod2_status status = sod2_run(program, plan, inputs, outputs, step_ns.data(), &error);
    sod2_plan_release(plan);
    CHECK(status == wanted);
    for (size_t i = 0; i < y.size() && !status; ++i)
      CHECK(y[i] - x[i] == y[0] - x[0]);
    return status ? -1 : y[0] - x[0];
  }
};

void loops() {
  Sample s; // y = x + 3 * k + 3 * k
  s.call(kCopy, kX, kA, s.zero);
  s.loop(s.k, kNone, kNone, {kA, kB}, {0, 1});
  s.call(kAdd, kA, kB, s.constant(3));
  s.loop(s.k, kI, kPred, {kA, kB}, {1, 1}); // a condition as well
  s.call(kBelow, kI, kPred, s.constant(1000));
  s.call(kAdd, kA, kB, s.constant(3));
  s.call(kCopy, kA, kY, s.zero);
  Runner run(s);
  for (int64_t k : {0, 1, 2, 3, 8, 101})
    CHECK(run(k) == static_cast<float>(6 * k));
  CHECK(run(3, 0, 0 + 1) == 18);
  CHECK(run.step_ns[1] >= run.step_ns[2] && run.step_ns[2] >= 0);
}

void condition() {
  Sample s; // while i < k: a = a + 1; the counter is the loop's own
  s.call(kCopy, kX, kA, s.zero);
  s.loop(kNone, kI, kPred, {kA, kB}, {1, 1});
  s.call(kBelow, kI, kPred, s.k);
  s.call(kAdd, kA, kB, s.one);
  s.call(kCopy, kA, kY, s.zero);
  Runner run(s);
  for (int64_t k : {0, 1, 2, 7, 1000})
    CHECK(run(k) == static_cast<float>(k));
  int64_t dims[] = {37, 1, 1}, extent = 0, work = 0;
  sod2_plan *plan = nullptr;
  CHECK(sod2_plan_acquire(run.program, dims, 3, &plan, nullptr) == SOD2_OK);
  sod2_plan_step(run.program, plan, 1, &extent, &work);
  CHECK(extent == -1 && work == INT64_MAX);
  sod2_plan_release(plan);
}

void nested() {
  Sample s; // k times: m times a + 1, then a + 10; the inner loop swaps what the outer one swapped
  s.call(kCopy, kX, kA, s.zero);
  s.loop(s.k, kI, kNone, {kA, kC}, {0, 4});
  s.loop(s.m, kJ, kNone, {kA, kB}, {0, 1});
  s.call(kAdd, kA, kB, s.one);
  s.call(kAdd, kA, kC, s.constant(4));
  s.call(kAdd, kC, kC, s.constant(6));
  s.call(kCopy, kA, kY, s.zero);
  Runner run(s);
  for (int64_t k : {0, 1, 2, 5})
    for (int64_t m : {0, 1, 2, 3})
      CHECK(run(k, m) == static_cast<float>(k * (m + 10)));
}

void branches() {
  Sample s; // in each of k iterations: + 1, + 20 or + 300, by the counter less one, kept in range
  s.call(kCopy, kX, kA, s.zero);
  s.loop(s.k, kI, kNone, {}, {0, 5});
  s.call(kNarrow, kI, kIndex, s.constant(-1));
  s.branch(kIndex, 4, {1, 1, 1});
  s.call(kAdd, kA, kA, s.one);
  s.call(kAdd, kA, kA, s.constant(20));
  s.call(kAdd, kA, kA, s.constant(300));
  s.loop(s.m, kI, kNone, {}, {0, 3});
  s.call(kBelow, kI, kPred, s.one);
  s.branch(kPred, 1, {0, 1});
  s.call(kAdd, kA, kA, s.constant(5000));
  s.call(kCopy, kA, kY, s.zero);
  Runner run(s);
  CHECK(run(0) == 0 && run(1) == 1 && run(2) == 2 && run(3) == 22 && run(4) == 322 &&
        run(6) == 922 && run(2, 1) == 5002 && run(2, 3) == 5002);
}

void hosts() {
  Sample s; // k times: the host's y = x + 2
  s.hosts = 1;
  s.call(kCopy, kX, kA, s.zero);
  s.loop(s.k, kNone, kNone, {kA, kB}, {0, 1});
  s.host(0, {{kA, {s.n}}}, {{kB, {s.n}}});
  s.call(kCopy, kA, kY, s.zero);
  Runner run(s);
  int calls = 0;
  volatile float tiny = std::numeric_limits<float>::min(), half = 0.5f;
  run.hooks.host = [&](int64_t function, const sod2_host_array *in, const sod2_host_array *out) {
    CHECK(function == 0 && in->rank == 1 && in->dims[0] == 37 && out->dtype == (2 << 8 | 32));
    volatile float denormal = tiny * half;
    CHECK(denormal != 0);
    for (int64_t i = 0; i < in->dims[0]; ++i)
      static_cast<float *>(out->data)[i] = static_cast<const float *>(in->data)[i] + 2;
    ++calls;
    if (calls == 1 && run.words.size()) // a host function may call the program that it is part of
      return std::lround(run(2)) == 4 ? SOD2_OK : SOD2_HOST;
    return SOD2_OK;
  };
  CHECK(run(3) == 6 && calls == 5);
  auto good = run.hooks.host;
  run.hooks.host = [](auto...) { return SOD2_HOST; };
  run(3, 0, 37, SOD2_HOST);
  run.hooks.host = good;
  CHECK(run(4) == 8);
  s.hosts = 2; // more than the caller has
  std::vector<int64_t> words = s.words();
  sod2_program *none = nullptr;
  const void *constants[] = {&calls};
  CHECK(sod2_program_create(words.data(), words.size(), kernels, 4, constants, 1, 1, nullptr, &none,
                            nullptr) == SOD2_BAD_ARGUMENT);
}

void interrupts() {
  Sample s; // for ever, until the hook says stop
  s.call(kCopy, kX, kA, s.zero);
  s.loop(kNone, kI, kPred, {kA, kB}, {1, 1});
  s.call(kBelow, kI, kPred, s.times(s.k, s.constant(int64_t(1) << 40)));
  s.call(kAdd, kA, kB, s.one);
  s.call(kCopy, kA, kY, s.zero);
  Runner run(s);
  int asked = 0;
  run.hooks.poll = [&] { return ++asked == 3; };
  auto started = std::chrono::steady_clock::now();
  run(1, 0, 37, SOD2_INTERRUPTED);
  auto took = std::chrono::steady_clock::now() - started;
  CHECK(asked == 3 && took >= std::chrono::milliseconds(140) && took < std::chrono::seconds(5));
  CHECK(std::strstr(run.error.message, "interrupted"));
  CHECK(run(0) == 0);
}

sod2_status read(const Sample &s) {
  std::vector<int64_t> words = s.words();
  Image image;
  return read_image(words.data(), words.size(), &image, nullptr);
}

// What the reader must refuse, each made from a program that it takes.
void wrong_images() {
  using Change = std::function<void(Sample &)>;
  auto loop = [](std::vector<int64_t> swaps, std::vector<int64_t> blocks, int64_t counter = kNone) {
    return [=](Sample &s) {
      s.loop(s.k, counter, kNone, swaps, blocks);
      s.call(kCopy, kX, kA, s.zero);
    };
  };
  const Change good[] = {loop({kA, kB}, {0, 1}), loop({}, {1, 0}, kI), loop({kA, kY}, {0, 0})};
  const Change bad[] = {
      loop({kA, kB}, {0, 2}),                                     // more steps than there are
      loop({kA, kB}, {1, 1}),                                     //
      loop({kA}, {0, 1}),                                         // no pair
      loop({kA, kB, kC, kA}, {0, 1}),                             // one slot twice
      loop({kA, kA}, {0, 1}),                                     //
      loop({kA, kX}, {0, 1}),                                     // an input, a constant
      loop({kConst, kA}, {0, 1}),                                 //
      loop({}, {0, 1}, kX),                                       //
      loop({}, {1}),                                              // one list
      [](Sample &s) { s.loop(kNone, kNone, kNone, {}, {0, 0}); }, // no end
      [](Sample &s) { s.branch(kPred, 2, {0, 0}); },
      [](Sample &s) { s.branch(kPred, 1, {}); },
      [](Sample &s) { s.branch(kPred, 1, {0, 1}); },
      [](Sample &s) { s.host(0, {}, {}); }, // no such function
      [](Sample &s) {
        s.hosts = 1;
        s.host(0, {}, {{kX, {s.n}}});
      },
      [](Sample &s) { // what prepares must stand outside
        s.slots.push_back({SlotKind::Cached, 0, s.count, kNone});
        s.branch(kPred, 1, {1});
        s.step({kCopy, {kX, kConst + 1}, {s.zero}, s.n, s.n, s.zero, {0}});
      },
      [](Sample &s) { // nested too deep
        for (int64_t i = 5000; i-- > 0;)
          s.loop(s.k, kNone, kNone, {}, {0, i});
      },
  };
  for (const Change &change : good) {
    Sample s;
    change(s);
    CHECK(read(s) == SOD2_OK);
  }
  for (const Change &change : bad) {
    Sample s;
    change(s);
    CHECK(read(s) == SOD2_BAD_IMAGE);
  }
  // What only sizes tell.
  const Change misfits[] = {
      loop({kA, kI}, {0, 1}),
      loop({}, {0, 1}, kIndex),
      [](Sample &s) { s.branch(kPred, 4, {0}); },
      [](Sample &s) {
        s.hosts = 1;
        s.host(0, {}, {{kA, {s.n, s.n}}});
      },
  };
  for (const Change &change : misfits) {
    Sample s;
    change(s);
    std::vector<int64_t> words = s.words();
    Image image;
    CHECK(read_image(words.data(), words.size(), &image, nullptr) == SOD2_OK);
    std::unique_ptr<sod2_plan> plan;
    int64_t dims[] = {37, 1, 1};
    CHECK(make_plan(image, dims, &plan, nullptr) == SOD2_BAD_IMAGE);
  }
}

// Prints what an iteration with three little kernels costs; nothing is allocated in it.
void price() {
  Sample s;
  s.call(kCopy, kX, kA, s.zero);
  s.loop(kNone, kI, kPred, {kA, kB}, {1, 2});
  s.call(kBelow, kI, kPred, s.k);
  s.call(kAdd, kA, kC, s.one);
  s.call(kAdd, kC, kB, s.one);
  s.call(kCopy, kA, kY, s.zero);
  std::vector<int64_t> words = s.words();
  const void *constants[] = {&words};
  sod2_program *program = nullptr;
  CHECK(sod2_program_create(words.data(), words.size(), kernels, 4, constants, 1, 0, nullptr,
                            &program, nullptr) == SOD2_OK);
  int64_t dims[] = {1, 10000, 0};
  sod2_plan *plan = nullptr;
  CHECK(sod2_plan_acquire(program, dims, 3, &plan, nullptr) == SOD2_OK);
  float x = 0, y = 0;
  sod2_input inputs[] = {{&x, 0}, {nullptr, 0}, {nullptr, 0}};
  void *outputs[] = {&y};
  CHECK(sod2_run(program, plan, inputs, outputs, nullptr, nullptr) == SOD2_OK && y == 20000);
  long made = news();
  double best = 1e9;
  for (int i = 0; i < 20; ++i) {
    auto started = std::chrono::steady_clock::now();
    CHECK(sod2_run(program, plan, inputs, outputs, nullptr, nullptr) == SOD2_OK);
    std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    best = std::min(best, took.count());
  }
  CHECK(news() == made);
  std::printf("10000 iterations of three kernels: %.0f us\n", best * 1e6);
  sod2_plan_release(plan);
  sod2_program_destroy(program);
}

} // namespace

int main() {
  loops();
  condition();
  nested();
  branches();
  hosts();
  interrupts();
  wrong_images();
  price();
  return 0;
}
