// Images: what is written is read back; a damaged one is refused with a status, never with a crash.
#include "check.h"
#include "image_builder.h"
#include "plan.h"

#include <cstring>
#include <random>

using namespace sod2;

namespace {

// A loop around a branch and a host call, over two arena slots.
std::vector<int64_t> control_image() {
  ImageBuilder b;
  int64_t n = b.symbol("n", 0, 0), zero = b.constant(0), bytes = b.constant(64);
  b.inputs = {{"x", {n}}};
  b.slots = {{SlotKind::Input, 0, zero, kNone},
             {SlotKind::Arena, 0, bytes, zero},
             {SlotKind::Arena, 1, bytes, bytes}};
  b.arena = b.constant(128);
  b.hosts = 1;
  b.loop(n, 1, 2, {1, 2}, {1, 4});
  b.step({0, {1, 2}, {n}, n, n, zero});
  b.branch(1, 4, {1, 1});
  b.step({0, {1, 2}, {n}, n, n, zero});
  b.step({0, {2, 1}, {n}, n, n, zero});
  b.host(0, {{1, {n}}}, {{2, {n, n}}});
  return b.words();
}

// Any word replaced by any kind of nonsense: without the checksum it is refused; with a right
// checksum, it is refused or it gives a program whose plans can be made without harm.
void damage(const std::vector<int64_t> &good) {
  std::mt19937_64 random(7);
  const int64_t nonsense[] = {-1, 0, 1, 2, 1 << 20, INT64_MAX, INT64_MIN, -77};
  int accepted = 0;
  for (size_t at = 0; at < good.size(); ++at)
    for (int64_t value : nonsense) {
      std::vector<int64_t> bad = good;
      if (bad[at] == value)
        continue;
      bad[at] = value;
      Image damaged;
      CHECK(read_image(bad.data(), bad.size(), &damaged, nullptr) == SOD2_BAD_IMAGE);
      size_t second = random() % good.size();
      if (random() % 4 == 0)
        bad[second] = nonsense[random() % 8];
      ImageBuilder::seal(&bad);
      Image sealed;
      if (read_image(bad.data(), bad.size(), &sealed, nullptr))
        continue;
      ++accepted;
      std::vector<int64_t> dims(static_cast<size_t>(sealed.dims), 5);
      std::unique_ptr<sod2_plan> plan;
      (void)make_plan(sealed, dims.data(), &plan, nullptr);
    }
  CHECK(accepted > 0);
}

} // namespace

int main() {
  std::vector<int64_t> good = axpy_image();
  Image image;
  sod2_error error = {};
  CHECK(read_image(good.data(), good.size(), &image, &error) == SOD2_OK);
  CHECK(image.inputs.size() == 2 && image.calls.size() == 3 && image.cached == 1 &&
        image.dims == 3);
  CHECK(std::strcmp(image.inputs[1].path, "w") == 0);

  for (size_t n = 0; n < good.size(); ++n) { // truncated, with and without a right header
    Image other;
    CHECK(read_image(good.data(), n, &other, nullptr) == SOD2_BAD_IMAGE);
    std::vector<int64_t> sealed(good.begin(), good.begin() + static_cast<long>(n));
    ImageBuilder::seal(&sealed);
    CHECK(read_image(sealed.data(), n, &other, nullptr) == SOD2_BAD_IMAGE);
  }
  CHECK(read_image(nullptr, 0, &image, nullptr) == SOD2_BAD_IMAGE);

  std::vector<int64_t> other_format = good;
  other_format[1] = 99;
  Image fresh;
  CHECK(read_image(other_format.data(), other_format.size(), &fresh, &error) == SOD2_BAD_IMAGE);
  CHECK(std::strstr(error.message, "format 99"));

  damage(good);
  good = control_image();
  Image control;
  CHECK(read_image(good.data(), good.size(), &control, &error) == SOD2_OK);
  CHECK(control.steps.size() == 6 && control.steps[0].next == 6 && control.steps[2].next == 5 &&
        control.loops[0].patches.size() == 6);
  damage(good);
  return 0;
}
