#pragma once
#include <atomic>
#include <cstdint>
#include <cstring>

// The three kernels of `axpy_image`.
inline std::atomic<int> prepares{0};

inline void copy_kernel(void **b, const int64_t *, int64_t begin, int64_t end, void *) {
  ++prepares;
  std::memcpy(static_cast<float *>(b[1]) + begin, static_cast<float *>(b[0]) + begin,
              static_cast<size_t>(end - begin) * sizeof(float));
}
inline void add_kernel(void **b, const int64_t *sizes, int64_t begin, int64_t end, void *scratch) {
  const int64_t m = sizes[0];
  auto *row = static_cast<float *>(scratch);
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t j = 0; j < m; ++j)
      row[j] = static_cast<const float *>(b[0])[i * m + j] + static_cast<const float *>(b[1])[j];
    if (m)
      std::memcpy(static_cast<float *>(b[2]) + i * m, row, static_cast<size_t>(m) * sizeof(float));
  }
}
inline void out_kernel(void **b, const int64_t *, int64_t begin, int64_t end, void *) {
  std::memcpy(static_cast<float *>(b[1]) + begin, static_cast<float *>(b[0]) + begin,
              static_cast<size_t>(end - begin) * sizeof(float));
}
