#include "image.h"

#include "error.h"

#include <cstring>

namespace sod2 {
namespace {

constexpr int64_t kMagic = 0x31545232444f53; // "SOD2RT1"
constexpr int64_t kVersion = 1;
constexpr int64_t kHeader = 16;
constexpr int64_t kMaxRank = 64, kMaxBuffers = 4096;

uint32_t crc32(const unsigned char *data, size_t bytes) {
  uint32_t table[256];
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit)
      c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  uint32_t c = 0xffffffffu;
  for (size_t i = 0; i < bytes; ++i)
    c = table[(c ^ data[i]) & 0xff] ^ (c >> 8);
  return c ^ 0xffffffffu;
}

// Takes words one after the other. A wrong one sets `bad`, and all later ones read as zero: callers
// check once per record.
class Reader {
public:
  Reader(const int64_t *words, int64_t count) : words_(words), count_(count) {}

  bool bad = false;
  const char *strings = nullptr;
  int64_t string_bytes = 0;

  int64_t left() const { return count_ - at_; }

  int64_t take() {
    if (bad || at_ >= count_) {
      bad = true;
      return 0;
    }
    return words_[at_++];
  }

  int64_t in(int64_t low, int64_t high) { // low <= word < high
    int64_t word = take();
    if (word < low || word >= high) {
      bad = true;
      return low;
    }
    return word;
  }

  Words run(int64_t most, int64_t low, int64_t high) { // a count, then so many words
    int64_t n = in(0, most + 1);
    if (bad || n > left()) {
      bad = true;
      return {};
    }
    Words words = {words_ + at_, n};
    for (int64_t i = 0; i < n; ++i)
      in(low, high);
    return words;
  }

  const char *text() { // null for -1
    int64_t offset = in(kNone, string_bytes);
    return bad || offset == kNone ? nullptr : strings + offset;
  }

private:
  const int64_t *words_;
  int64_t count_, at_ = 0;
};

const char *or_empty(const char *text) { return text ? text : ""; }

sod2_status corrupt(sod2_error *error, const char *what) {
  return fail(error, SOD2_BAD_IMAGE, "the program image is corrupt: %s", what);
}

// Runs the stack code without values: every value is stored once, and before it is used.
bool code_is_sound(Image *image) {
  std::vector<char> known(static_cast<size_t>(image->values), 0);
  std::fill(known.begin(), known.begin() + static_cast<int64_t>(image->symbols.size()), 1);
  int64_t depth = 0;
  for (const Instruction &i : image->code) {
    auto value = static_cast<size_t>(i.operand);
    bool names_value = i.op == Op::Value || i.op == Op::Store;
    if (names_value && (i.operand < 0 || i.operand >= image->values))
      return false;
    if (i.op == Op::Const) {
      ++depth;
    } else if (i.op == Op::Value) {
      if (!known[value])
        return false;
      ++depth;
    } else if (i.op == Op::Store) {
      if (known[value] || --depth < 0)
        return false;
      known[value] = 1;
    } else if (--depth < 1) {
      return false;
    }
    image->stack = depth > image->stack ? depth : image->stack;
  }
  for (char k : known)
    if (!k)
      return false;
  return depth == 0;
}

} // namespace

sod2_status read_image(const int64_t *words, size_t count, Image *image, sod2_error *error) {
  if (!words || count < kHeader || words[0] != kMagic)
    return corrupt(error, "it does not begin as one");
  if (words[1] != kVersion)
    return fail(error, SOD2_BAD_IMAGE, "the program image has format %lld; this runtime reads %lld",
                static_cast<long long>(words[1]), static_cast<long long>(kVersion));
  if (words[2] != static_cast<int64_t>(count))
    return corrupt(error, "it is truncated");
  if (words[3] !=
      crc32(reinterpret_cast<const unsigned char *>(words + 4), (count - 4) * sizeof(int64_t)))
    return corrupt(error, "its checksum is wrong");

  // Each record takes more than one word, so no count can exceed the number of words; this bounds
  // every allocation below.
  const auto total = static_cast<int64_t>(count);
  for (int i = 4; i < 15; ++i)
    if (words[i] < 0 || words[i] > total)
      return corrupt(error, "a count in its header");
  const int64_t n_symbols = words[4], n_inputs = words[5], n_outputs = words[6];
  const int64_t n_slots = words[7], n_steps = words[8], n_guards = words[9];
  const int64_t n_code = words[13], string_words = words[14];
  image->kernels = words[10];
  image->constants = words[11];
  image->values = words[12];
  image->arena = words[15];
  const int64_t n_values = image->values;
  if (string_words < 1 || string_words > total - kHeader || n_symbols > n_values ||
      image->arena < kNone || image->arena >= n_values)
    return corrupt(error, "its header");

  Reader r(words + kHeader, total - kHeader - string_words);
  r.strings = reinterpret_cast<const char *>(words + (total - string_words));
  r.string_bytes = string_words * static_cast<int64_t>(sizeof(int64_t));
  if (r.strings[r.string_bytes - 1] != 0)
    return corrupt(error, "its strings do not end");

  for (int64_t i = 0; i < n_symbols && !r.bad; ++i) {
    Symbol s = {or_empty(r.text()), r.in(0, n_inputs), r.in(0, kMaxRank), r.take(),
                r.take(),           r.take(),          r.take()};
    if (s.scale == 0)
      return corrupt(error, "a symbol of scale 0");
    image->symbols.push_back(s);
  }
  for (int64_t i = 0; i < n_inputs && !r.bad; ++i) {
    Tensor t = {or_empty(r.text()),          r.take(), r.in(0, 1 << 16), kNone, kNone,
                r.run(kMaxRank, 0, n_values)};
    image->dims += t.dims.count;
    image->inputs.push_back(t);
  }
  for (int64_t i = 0; i < n_outputs && !r.bad; ++i) {
    Tensor t = {nullptr, r.take(), r.in(0, 1 << 16), r.in(kNone, n_slots), r.in(kNone, n_inputs),
                {}};
    t.dims = r.run(kMaxRank, 0, n_values);
    if ((t.slot == kNone) == (t.forward == kNone))
      return corrupt(error, "an output that nothing makes");
    image->outputs.push_back(t);
  }
  for (int64_t i = 0; i < n_slots && !r.bad; ++i) {
    auto kind = static_cast<SlotKind>(r.in(0, 5));
    int64_t most = kind == SlotKind::Input      ? n_inputs
                   : kind == SlotKind::Output   ? n_outputs
                   : kind == SlotKind::Constant ? image->constants
                                                : total;
    Slot s = {kind, r.in(0, most), r.in(0, n_values), r.in(kNone, n_values), or_empty(r.text())};
    if (kind == SlotKind::Arena && (s.offset == kNone || image->arena == kNone))
      return corrupt(error, "an arena slot without a place");
    if (kind == SlotKind::Cached)
      s.index = image->cached++; // counted here, so that no number in the image can be wrong
    image->slots.push_back(s);
  }
  for (int64_t i = 0; i < n_steps && !r.bad; ++i) {
    Step s = {};
    s.kernel = r.in(0, image->kernels);
    s.slots = r.run(kMaxBuffers, 0, n_slots);
    s.sizes = r.run(kMaxBuffers, 0, n_values);
    s.extent = r.in(0, n_values);
    s.work = r.in(0, n_values);
    s.scratch = r.in(0, n_values);
    s.prepare = r.run(kMaxBuffers, 0, n_inputs);
    s.source = or_empty(r.text());
    image->steps.push_back(s);
  }
  for (int64_t i = 0; i < n_guards && !r.bad; ++i) {
    Guard g = {};
    g.left = r.in(0, n_values);
    g.compare = static_cast<Compare>(r.in(0, 4));
    g.right = r.in(0, n_values);
    g.kind = static_cast<GuardKind>(r.in(0, 3));
    g.message = or_empty(r.text());
    g.where = or_empty(r.text());
    image->guards.push_back(g);
  }
  for (int64_t i = 0; i < n_values && !r.bad; ++i)
    image->texts.push_back(r.text());
  for (int64_t i = 0; i < n_code && !r.bad; ++i) {
    auto op = static_cast<Op>(r.in(0, 10));
    image->code.push_back({op, r.take()});
  }
  if (r.bad || r.left() != 0)
    return corrupt(error, "its records do not fit together");

  for (const Symbol &s : image->symbols)
    if (s.axis >= image->inputs[static_cast<size_t>(s.input)].dims.count)
      return corrupt(error, "a symbol of an axis that its input does not have");
  for (const Tensor &o : image->outputs)
    if (o.slot != kNone && image->slots[static_cast<size_t>(o.slot)].kind != SlotKind::Output)
      return corrupt(error, "an output in no output slot");
  if (!code_is_sound(image))
    return corrupt(error, "its size code");
  return SOD2_OK;
}

} // namespace sod2
