// The order of elements by unsigned keys.
//
// * Rows lie `stride` elements apart in memory, element by element; an iteration is a row. The
// result is, for each row, the
//   positions of its first `wanted` elements in ascending order of (key 0, key 1, ..., position).
// * Keys of up to 32 bits together form a word with the position in its lower half, those of up to
// 64 bits a pair: comparing needs
//   nothing else then. More keys are gathered, and positions are sorted by them.
// * Long rows of words and pairs are sorted by digits of 8 bits, from the last to the first; digits
// that are the same everywhere
//   are passed over. If few elements are wanted, they are selected first.
// * Rows that lie side by side are read and written several at a time: a cache line holds elements
// of all of them.
#include "library.h"

#include <algorithm>
#include <cstring>

namespace sod2 {
namespace {

constexpr int64_t kShort = 256; // rows up to here are sorted by comparisons
constexpr int64_t kSelective =
    4; // so many times as many elements as are wanted: they are selected first
constexpr int64_t kFew = 64;                        // up to so many are selected by insertion
constexpr int64_t kBlock = 16, kBlockLength = 4096; // rows at a time, unless they are longer
constexpr int kDigit = 8, kBuckets = 1 << kDigit;

template <class T> uint64_t read(const char *place) {
  T x;
  std::memcpy(&x, place, sizeof x);
  return x;
}

uint64_t load(const void *array, int64_t width, int64_t at) {
  const char *place = static_cast<const char *>(array) + at * width;
  switch (width) {
  case 1:
    return read<uint8_t>(place);
  case 2:
    return read<uint16_t>(place);
  case 4:
    return read<uint32_t>(place);
  }
  return read<uint64_t>(place);
}

struct Keys {
  void **arrays;
  const int64_t *widths;
  int64_t count, stride;

  // All keys of an element, the first one in the highest bits.
  uint64_t joined(int64_t at) const {
    uint64_t key = 0;
    for (int64_t j = 0; j < count; ++j)
      key = (j == 0 ? 0 : key << (8 * widths[j])) | load(arrays[j], widths[j], at);
    return key;
  }
};

// A key of up to 32 bits, and its position.
struct Word {
  uint64_t bits;

  static Word make(uint64_t key, int64_t i) { return {key << 32 | static_cast<uint64_t>(i)}; }
  bool operator<(const Word &other) const { return bits < other.bits; }
  uint64_t key() const { return bits >> 32; }
  int32_t position() const { return static_cast<int32_t>(bits); }
};

struct Pair {
  uint64_t bits;
  int64_t index;

  static Pair make(uint64_t key, int64_t i) { return {key, i}; }
  bool operator<(const Pair &other) const {
    return bits != other.bits ? bits < other.bits : index < other.index;
  }
  uint64_t key() const { return bits; }
  int32_t position() const { return static_cast<int32_t>(index); }
};

template <class T> const T *by_digits(T *from, T *to, int64_t n, int64_t bytes) {
  int64_t counts[8][kBuckets] = {};
  for (int64_t i = 0; i < n; ++i)
    for (int64_t d = 0; d < bytes; ++d)
      ++counts[d][from[i].key() >> (kDigit * d) & (kBuckets - 1)];
  for (int64_t d = 0; d < bytes; ++d) {
    int64_t *count = counts[d], start = 0;
    if (count[from[0].key() >> (kDigit * d) & (kBuckets - 1)] == n)
      continue;
    for (int b = 0; b < kBuckets; ++b) {
      int64_t size = count[b];
      count[b] = start;
      start += size;
    }
    for (int64_t i = 0; i < n; ++i)
      to[count[from[i].key() >> (kDigit * d) & (kBuckets - 1)]++] = from[i];
    std::swap(from, to);
  }
  return from;
}

// The smallest elements come first, sorted.
template <class T> void select_few(T *elements, int64_t n, int64_t wanted) {
  std::sort(elements, elements + wanted);
  for (int64_t i = wanted; i < n; ++i) {
    T x = elements[i];
    if (!(x < elements[wanted - 1]))
      continue;
    int64_t at = wanted - 1;
    for (; at > 0 && x < elements[at - 1]; --at)
      elements[at] = elements[at - 1];
    elements[at] = x;
  }
}

template <class T>
const T *ordered(T *elements, T *spare, int64_t n, int64_t wanted, int64_t bytes) {
  if (wanted > 0 && n / kSelective >= wanted) {
    if (wanted <= kFew) {
      select_few(elements, n, wanted);
      return elements;
    }
    std::nth_element(elements, elements + wanted - 1, elements + n);
    n = wanted;
  }
  if (n > kShort)
    return by_digits(elements, spare, n, bytes);
  std::sort(elements, elements + n);
  return elements;
}

template <class T>
void sort_rows(const Keys &keys, int64_t rows, int64_t from, int32_t *to, int64_t n, int64_t wanted,
               int64_t bytes, void *scratch) {
  T *elements = static_cast<T *>(scratch), *spare = elements + rows * n;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t r = 0; r < rows; ++r)
      elements[r * n + i] = T::make(keys.joined(from + i * keys.stride + r), i);
  for (int64_t r = 0; r < rows; ++r)
    if (ordered(elements + r * n, spare, n, wanted, bytes) == spare)
      std::copy(spare, spare + wanted, elements + r * n);
  for (int64_t i = 0; i < wanted; ++i)
    for (int64_t r = 0; r < rows; ++r)
      to[i * keys.stride + r] = elements[r * n + i].position();
}

void sort_long_keys(const Keys &keys, int64_t from, int32_t *to, int64_t n, int64_t wanted,
                    void *scratch) {
  uint64_t *gathered = static_cast<uint64_t *>(scratch);
  int64_t count = keys.count, *order = reinterpret_cast<int64_t *>(gathered + n * count);
  for (int64_t i = 0; i < n; ++i) {
    order[i] = i;
    for (int64_t j = 0; j < count; ++j)
      gathered[i * count + j] = load(keys.arrays[j], keys.widths[j], from + i * keys.stride);
  }
  auto before = [&](int64_t a, int64_t b) {
    for (int64_t j = 0; j < count; ++j)
      if (gathered[a * count + j] != gathered[b * count + j])
        return gathered[a * count + j] < gathered[b * count + j];
    return a < b;
  };
  std::partial_sort(order, order + wanted, order + n, before);
  for (int64_t i = 0; i < wanted; ++i)
    to[i * keys.stride] = static_cast<int32_t>(order[i]);
}

} // namespace

void sort_order(void **buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch) {
  int64_t n = sizes[0], stride = sizes[1], wanted = sizes[2], count = sizes[3], bytes = 0;
  Keys keys{buffers, sizes + 4, count, stride};
  for (int64_t j = 0; j < count; ++j)
    bytes += keys.widths[j];
  int32_t *out = static_cast<int32_t *>(buffers[count]);
  int64_t most = bytes <= 8 && n <= kBlockLength ? kBlock : 1;
  for (int64_t row = begin, rows; row < end; row += rows) {
    int64_t outer = row / stride, inner = row % stride;
    rows = std::min({most, stride - inner, end - row});
    int64_t from = outer * n * stride + inner;
    int32_t *to = out + outer * wanted * stride + inner;
    if (bytes <= 4)
      sort_rows<Word>(keys, rows, from, to, n, wanted, bytes, scratch);
    else if (bytes <= 8)
      sort_rows<Pair>(keys, rows, from, to, n, wanted, bytes, scratch);
    else
      sort_long_keys(keys, from, to, n, wanted, scratch);
  }
}

} // namespace sod2
