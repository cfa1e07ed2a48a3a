#include "image.h"

#include "error.h"

#include <cstring>

namespace sod2 {
namespace {

constexpr int64_t kMagic = 0x31545232444f53; // "SOD2RT1"
constexpr int64_t kVersion = 3;
constexpr int64_t kHeader = 17;
constexpr int64_t kMaxRank = 64, kMaxBuffers = 4096, kMaxDepth = 200;

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

void read_arrays(Reader *r, int64_t n_slots, int64_t *count, Image *image) {
  *count = r->in(0, kMaxBuffers);
  for (int64_t i = 0; i < *count && !r->bad; ++i) {
    HostArray a = {r->in(0, n_slots), r->take(), r->in(0, 1 << 16), {}};
    a.dims = r->run(kMaxRank, 0, image->values);
    image->arrays.push_back(a);
  }
}

void read_step(Reader *r, int64_t n_steps, Image *image) {
  const auto n_slots = static_cast<int64_t>(image->slots.size());
  auto count = [](const auto &list) { return static_cast<int64_t>(list.size()); };
  Step step = {static_cast<StepKind>(r->in(0, 4)), 0, 0, or_empty(r->text())};
  switch (step.kind) {
  case StepKind::Kernel: {
    KernelCall c = {};
    c.kernel = r->in(0, image->kernels);
    c.slots = r->run(kMaxBuffers, 0, n_slots);
    c.sizes = r->run(kMaxBuffers, 0, image->values);
    c.extent = r->in(0, image->values);
    c.work = r->in(0, image->values);
    c.scratch = r->in(0, image->values);
    c.prepare = r->run(kMaxBuffers, 0, count(image->inputs));
    c.first_argument = image->arguments;
    image->arguments += c.slots.count;
    step.at = count(image->calls);
    image->calls.push_back(c);
    break;
  }
  case StepKind::Host: {
    HostCall c = {r->in(0, image->hosts), count(image->arrays), 0, 0};
    read_arrays(r, n_slots, &c.reads, image);
    read_arrays(r, n_slots, &c.writes, image);
    step.at = count(image->host_calls);
    image->host_calls.push_back(c);
    break;
  }
  case StepKind::Branch: {
    Branch b = {r->in(0, n_slots), r->in(1, 5), {}};
    b.blocks = r->run(kMaxBuffers, 0, n_steps);
    r->bad = r->bad || (b.bytes != 1 && b.bytes != 4) || b.blocks.count == 0;
    step.at = count(image->branches);
    image->branches.push_back(b);
    break;
  }
  case StepKind::Loop: {
    Loop l = {
        r->in(kNone, image->values), r->in(kNone, n_slots), r->in(kNone, n_slots), {}, {}, {}};
    l.swaps = r->run(kMaxBuffers, 0, n_slots);
    l.blocks = r->run(2, 0, n_steps);
    r->bad = r->bad || (l.length == kNone && l.pred == kNone) || l.swaps.count % 2 != 0 ||
             l.blocks.count != 2;
    step.at = count(image->loops);
    image->loops.push_back(l);
    break;
  }
  }
  image->steps.push_back(step);
}

Words blocks_of(const Image &image, const Step &step) {
  return step.kind == StepKind::Branch ? image.branches[static_cast<size_t>(step.at)].blocks
         : step.kind == StepKind::Loop ? image.loops[static_cast<size_t>(step.at)].blocks
                                       : Words{};
}

// Sets where each step of these positions ends. False if one holds more than there is, if they nest
// too deep, or if one within another prepares.
bool nest(Image *image, int64_t begin, int64_t end, int depth) {
  while (begin < end) {
    Step &step = image->steps[static_cast<size_t>(begin)];
    if (step.kind == StepKind::Kernel && depth > 0 &&
        image->calls[static_cast<size_t>(step.at)].prepare.count > 0)
      return false;
    Words blocks = blocks_of(*image, step);
    ++begin;
    for (int64_t i = 0; i < blocks.count; ++i) {
      if (blocks[i] > end - begin || depth == kMaxDepth ||
          !nest(image, begin, begin + blocks[i], depth + 1))
        return false;
      begin += blocks[i];
    }
    step.next = begin;
  }
  return true;
}

// What steps write themselves must be memory of the call: in the arena, or an output.
bool is_ours(const Image &image, int64_t slot) {
  SlotKind kind = image.slots[static_cast<size_t>(slot)].kind;
  return kind == SlotKind::Arena || kind == SlotKind::Output;
}

// Finds the arguments that each loop must address again; false if its slots cannot change places.
bool find_patches(Image *image) {
  std::vector<char> swapped(image->slots.size(), 0);
  for (size_t position = 0; position < image->steps.size(); ++position) {
    const Step &step = image->steps[position];
    if (step.kind != StepKind::Loop)
      continue;
    Loop &loop = image->loops[static_cast<size_t>(step.at)];
    if (loop.counter != kNone && !is_ours(*image, loop.counter))
      return false;
    bool sound = true;
    for (int64_t i = 0; i < loop.swaps.count; ++i) {
      char &mark = swapped[static_cast<size_t>(loop.swaps[i])];
      sound = sound && !mark && is_ours(*image, loop.swaps[i]);
      mark = 1;
    }
    for (int64_t i = static_cast<int64_t>(position) + 1; i < step.next && loop.swaps.count; ++i) {
      const Step &inner = image->steps[static_cast<size_t>(i)];
      if (inner.kind != StepKind::Kernel)
        continue;
      const KernelCall &call = image->calls[static_cast<size_t>(inner.at)];
      for (int64_t s = 0; s < call.slots.count; ++s)
        if (swapped[static_cast<size_t>(call.slots[s])])
          loop.patches.push_back({call.first_argument + s, call.slots[s]});
    }
    for (int64_t i = 0; i < loop.swaps.count; ++i)
      swapped[static_cast<size_t>(loop.swaps[i])] = 0;
    if (!sound)
      return false;
  }
  return true;
}

bool host_calls_are_sound(const Image &image) {
  for (const HostCall &call : image.host_calls)
    for (int64_t i = call.first + call.reads; i < call.first + call.reads + call.writes; ++i)
      if (!is_ours(image, image.arrays[static_cast<size_t>(i)].slot))
        return false;
  return true;
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
  for (int i = 4; i < 16; ++i)
    if (words[i] < 0 || words[i] > total)
      return corrupt(error, "a count in its header");
  const int64_t n_symbols = words[4], n_inputs = words[5], n_outputs = words[6];
  const int64_t n_slots = words[7], n_steps = words[8], n_guards = words[9];
  const int64_t n_code = words[14], string_words = words[15];
  image->kernels = words[10];
  image->constants = words[11];
  image->hosts = words[12];
  image->values = words[13];
  image->arena = words[16];
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
    Tensor t = {or_empty(r.text()),          r.take(), r.in(0, 1 << 16), kNone, kNone, kNone,
                r.run(kMaxRank, 0, n_values)};
    image->dims += t.dims.count;
    image->inputs.push_back(t);
  }
  for (int64_t i = 0; i < n_outputs && !r.bad; ++i) {
    Tensor t = {nullptr,
                r.take(),
                r.in(0, 1 << 16),
                r.in(kNone, n_slots),
                r.in(kNone, n_inputs),
                r.in(kNone, n_inputs),
                {}};
    t.dims = r.run(kMaxRank, 0, n_values);
    if ((t.slot == kNone) == (t.forward == kNone))
      return corrupt(error, "an output that nothing makes");
    for (const Tensor &other : image->outputs)
      if (t.donor != kNone && t.donor == other.donor)
        return corrupt(error, "two outputs in the memory of one input");
    image->outputs.push_back(t);
  }
  for (int64_t i = 0; i < n_slots && !r.bad; ++i) {
    auto kind = static_cast<SlotKind>(r.in(0, 5));
    int64_t most = kind == SlotKind::Input      ? n_inputs
                   : kind == SlotKind::Output   ? n_outputs
                   : kind == SlotKind::Constant ? image->constants
                                                : total;
    Slot s = {kind, r.in(0, most), r.in(0, n_values), r.in(kNone, n_values), r.take(), r.take(), ""};
    s.name = or_empty(r.text());
    if (kind == SlotKind::Arena && (s.offset == kNone || image->arena == kNone))
      return corrupt(error, "an arena slot without a place");
    if (kind == SlotKind::Cached)
      s.index = image->cached++; // counted here, so that no number in the image can be wrong
    image->slots.push_back(s);
  }
  for (int64_t i = 0; i < n_steps && !r.bad; ++i)
    read_step(&r, n_steps, image);
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
  if (!nest(image, 0, n_steps, 0))
    return corrupt(error, "steps that hold what they must not");
  if (!find_patches(image) || !host_calls_are_sound(*image))
    return corrupt(error, "a loop or a host call that writes what is not its own");
  if (!code_is_sound(image))
    return corrupt(error, "its size code");
  return SOD2_OK;
}

} // namespace sod2
