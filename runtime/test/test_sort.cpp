// The order of rows against std::stable_sort: widths, numbers of keys, distances, selections.
#include "check.h"
#include "sod2rt_more.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

static void check(int64_t rows, int64_t n, int64_t stride, int64_t wanted,
                  std::vector<int64_t> widths, uint64_t different) {
  sod2_kernel sort = sod2_library_kernel("sort_order");
  CHECK(sort);
  std::mt19937_64 random(n + wanted + different);
  std::vector<std::vector<uint64_t>> keys;
  std::vector<std::vector<char>> bytes;
  std::vector<void *> buffers;
  for (int64_t width : widths) {
    uint64_t top = width == 8 ? ~uint64_t(0) : (uint64_t(1) << (8 * width)) - 1;
    keys.emplace_back();
    bytes.emplace_back(rows * n * width + 1);
    for (int64_t i = 0; i < rows * n; ++i) {
      // Few different values, of which some have the highest bits.
      uint64_t key = random() % different;
      keys.back().push_back(key = (key % 2 ? key : ~key) & top);
      std::memcpy(&bytes.back()[i * width], &key, width); // little-endian, as all targets are
    }
  }
  for (auto &b : bytes)
    buffers.push_back(b.data());
  std::vector<int32_t> out(rows * wanted + 1, -1);
  buffers.push_back(out.data());
  std::vector<int64_t> sizes{n, stride, wanted, int64_t(widths.size())};
  sizes.insert(sizes.end(), widths.begin(), widths.end());
  std::vector<int64_t> scratch(n * (widths.size() + 4 + 2 * 15) + 1);
  sort(buffers.data(), sizes.data(), 0, rows / 2, scratch.data());
  sort(buffers.data(), sizes.data(), rows / 2, rows, scratch.data());
  CHECK(out.back() == -1);
  for (int64_t row = 0; row < rows; ++row) {
    int64_t outer = row / stride, inner = row % stride;
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      for (auto &key : keys) {
        uint64_t x = key[(outer * n + a) * stride + inner],
                 y = key[(outer * n + b) * stride + inner];
        if (x != y)
          return x < y;
      }
      return false;
    });
    for (int64_t i = 0; i < wanted; ++i)
      CHECK(out[(outer * wanted + i) * stride + inner] == order[i]);
  }
}

int main() {
  for (auto widths : std::vector<std::vector<int64_t>>{
           {1}, {2}, {4}, {8}, {1, 2}, {2, 4}, {4, 4}, {8, 4}, {4, 8, 1}})
    for (int64_t n : {0, 1, 2, 33, 256, 257, 1500})
      for (uint64_t different : {3, 1000000})
        for (int64_t stride : {1, 3, 40}) {
          int64_t rows = stride == 40 ? 40 : 6;
          check(rows, n, stride, n, widths, different);
          check(rows, n, stride, std::min<int64_t>(n, 5), widths, different);
          check(rows, n, stride, std::min<int64_t>(n, 100), widths, different);
          check(rows, n, stride, 0, widths, different);
        }
  return 0;
}
