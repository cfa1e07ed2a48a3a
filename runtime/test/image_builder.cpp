#include "image_builder.h"

#include <cstring>

using namespace sod2;

namespace {

uint32_t crc32(const unsigned char *data, size_t bytes) {
  uint32_t c = 0xffffffffu;
  for (size_t i = 0; i < bytes; ++i) {
    c ^= data[i];
    for (int bit = 0; bit < 8; ++bit)
      c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
  }
  return c ^ 0xffffffffu;
}

void append(std::vector<int64_t> *to, const std::vector<int64_t> &words) {
  to->push_back(static_cast<int64_t>(words.size()));
  to->insert(to->end(), words.begin(), words.end());
}

} // namespace

int64_t ImageBuilder::text(const std::string &text) {
  auto offset = static_cast<int64_t>(strings_.size());
  strings_ += text;
  strings_.push_back('\0');
  return offset;
}

int64_t ImageBuilder::symbol(const std::string &name, int64_t input, int64_t axis, int64_t scale,
                             int64_t offset, int64_t low, int64_t high) {
  for (int64_t word : {text(name), input, axis, scale, offset, low, high})
    symbols_.push_back(word);
  ++n_symbols_;
  return n_values_++;
}

int64_t ImageBuilder::constant(int64_t n) {
  for (int64_t word : {int64_t(Op::Const), n, int64_t(Op::Store), n_values_})
    code_.push_back(word);
  return n_values_++;
}

int64_t ImageBuilder::binary(Op op, int64_t a, int64_t b) {
  for (int64_t word : {int64_t(Op::Value), a, int64_t(Op::Value), b, int64_t(op), int64_t(0),
                       int64_t(Op::Store), n_values_})
    code_.push_back(word);
  return n_values_++;
}

void ImageBuilder::guard(int64_t left, Compare compare, int64_t right, GuardKind kind,
                         const std::string &message) {
  for (int64_t word :
       {left, int64_t(compare), right, int64_t(kind), text(message), text("model.py:7")})
    guards_.push_back(word);
  ++n_guards_;
}

void ImageBuilder::output(std::vector<int64_t> dims, int64_t slot, int64_t forward, int64_t donor) {
  for (int64_t word : {int64_t(2 << 8 | 32), int64_t(4), slot, forward, donor})
    outputs_.push_back(word);
  append(&outputs_, dims);
  ++n_outputs_;
}

void ImageBuilder::step(const Step &step) {
  for (int64_t word : {int64_t(StepKind::Kernel), text("step"), step.kernel})
    steps_.push_back(word);
  append(&steps_, step.slots);
  append(&steps_, step.sizes);
  for (int64_t word : {step.extent, step.work, step.scratch})
    steps_.push_back(word);
  append(&steps_, step.prepare);
  ++n_steps_;
}

void ImageBuilder::host(int64_t function, const std::vector<Array> &reads,
                        const std::vector<Array> &writes) {
  for (int64_t word : {int64_t(StepKind::Host), text("host"), function})
    steps_.push_back(word);
  for (const std::vector<Array> *arrays : {&reads, &writes}) {
    steps_.push_back(static_cast<int64_t>(arrays->size()));
    for (const Array &array : *arrays) {
      for (int64_t word : {array.slot, int64_t(2 << 8 | 32), int64_t(4)})
        steps_.push_back(word);
      append(&steps_, array.dims);
    }
  }
  ++n_steps_;
}

void ImageBuilder::branch(int64_t slot, int64_t bytes, const std::vector<int64_t> &blocks) {
  for (int64_t word : {int64_t(StepKind::Branch), text("branch"), slot, bytes})
    steps_.push_back(word);
  append(&steps_, blocks);
  ++n_steps_;
}

void ImageBuilder::loop(int64_t length, int64_t counter, int64_t pred,
                        const std::vector<int64_t> &swaps, const std::vector<int64_t> &blocks) {
  for (int64_t word : {int64_t(StepKind::Loop), text("loop"), length, counter, pred})
    steps_.push_back(word);
  append(&steps_, swaps);
  append(&steps_, blocks);
  ++n_steps_;
}

std::vector<int64_t> ImageBuilder::words() const {
  ImageBuilder self = *this;
  std::vector<int64_t> body = self.symbols_;
  for (const Tensor &input : inputs) {
    for (int64_t word : {self.text(input.path), int64_t(2 << 8 | 32), int64_t(4)})
      body.push_back(word);
    append(&body, input.dims);
  }
  body.insert(body.end(), outputs_.begin(), outputs_.end());
  for (const Slot &slot : slots)
    for (int64_t word :
         {int64_t(slot.kind), slot.index, slot.bytes, slot.offset, slot.first, slot.last,
          self.text("slot")})
      body.push_back(word);
  body.insert(body.end(), steps_.begin(), steps_.end());
  body.insert(body.end(), guards_.begin(), guards_.end());
  for (int64_t value = 0; value < n_values_; ++value)
    body.push_back(self.text("v" + std::to_string(value)));
  body.insert(body.end(), code_.begin(), code_.end());
  self.strings_.resize(self.strings_.size() / 8 * 8 + 8, '\0');

  auto size = [](const auto &list) { return static_cast<int64_t>(list.size()); };
  std::vector<int64_t> words = {0x31545232444f53, // "SOD2RT1"
                                3,
                                0,
                                0,
                                n_symbols_,
                                size(inputs),
                                n_outputs_,
                                size(slots),
                                n_steps_,
                                n_guards_,
                                kernels,
                                constants,
                                hosts,
                                n_values_,
                                size(code_) / 2,
                                size(self.strings_) / 8,
                                arena};
  words.insert(words.end(), body.begin(), body.end());
  size_t at = words.size();
  words.resize(at + self.strings_.size() / 8);
  std::memcpy(&words[at], self.strings_.data(), self.strings_.size());
  seal(&words);
  return words;
}

void ImageBuilder::seal(std::vector<int64_t> *words) {
  if (words->size() < 4)
    return;
  (*words)[2] = static_cast<int64_t>(words->size());
  (*words)[3] =
      crc32(reinterpret_cast<const unsigned char *>(words->data() + 4), (words->size() - 4) * 8);
}

std::vector<int64_t> axpy_image() {
  ImageBuilder b;
  int64_t n = b.symbol("n", 0, 0), m = b.symbol("m", 0, 1, 1, 0, 0, 1000000);
  int64_t four = b.constant(4), zero = b.constant(0), count = b.times(n, m),
          bytes = b.times(count, four);
  int64_t row = b.times(m, four);
  b.inputs = {{"x", {n, m}}, {"w", {m}}};
  b.slots = {{SlotKind::Input, 0, bytes, kNone},
             {SlotKind::Input, 1, row, kNone},
             {SlotKind::Arena, 0, bytes, zero},
             {SlotKind::Output, 0, bytes, kNone},
             {SlotKind::Cached, 0, row, kNone}};
  b.arena = bytes;
  b.kernels = 3;
  b.step({0, {1, 4}, {m}, m, m, zero, {1}});            // cached = w
  b.step({1, {0, 4, 2}, {m}, n, count, row, {}});       // arena = x + cached
  b.step({2, {2, 3}, {count}, count, count, zero, {}}); // output = arena
  b.output({n, m}, 3);
  b.guard(m, Compare::Ne, b.constant(13), GuardKind::Version, "");
  b.guard(n, Compare::Le, b.constant(1 << 20), GuardKind::Contract,
          "n is {lhs}, allowed are {rhs}");
  return b.words();
}
