#pragma once
#include "jax_names.h"

#include <utility>
#include <vector>

// Reading the leaves of a call: pointer, dtype and shape of each, without asking again for an array
// seen in the last call.
namespace sod2py {

// What an aval says. The tables of this module know one for each aval that came by, and forget all
// of them when there are too many: whoever keeps one keeps it as an `Aval`, which owns a share of
// it. Two are the same object only if they say the same.
struct AvalInfo {
  nanobind::object aval; // none for NumPy arrays and Python scalars
  int64_t dtype;
  bool weak_type;
  std::vector<int64_t> dims;
  int64_t owners = 0; // changed under the GIL only, so that counting costs next to nothing
};

class Aval {
public:
  Aval() = default;
  explicit Aval(AvalInfo *info) : info_(info) {
    if (info_)
      ++info_->owners;
  }
  Aval(const Aval &other) : Aval(other.info_) {}
  Aval(Aval &&other) noexcept : info_(other.info_) { other.info_ = nullptr; }
  Aval &operator=(Aval other) noexcept {
    std::swap(info_, other.info_);
    return *this;
  }
  ~Aval() {
    if (info_ && --info_->owners == 0)
      delete info_;
  }
  const AvalInfo *operator->() const { return info_; }
  const AvalInfo &operator*() const { return *info_; }
  explicit operator bool() const { return info_ != nullptr; }
  bool operator==(const Aval &other) const { return info_ == other.info_; }

private:
  AvalInfo *info_ = nullptr;
};

Aval aval_info(PyObject *aval); // null: error set
Aval plain_info(int64_t dtype, const int64_t *dims, int64_t rank, bool weak_type);
// How many of them the tables keep before they forget them all (8192).
void set_most_avals(size_t count);

// One leaf position. Nothing here keeps the user's array alive.
struct Leaf {
  PyObject *seen = nullptr; // address of the last object, only to be compared
  PyObject *weak = nullptr; // weak reference to it: if it is alive, `seen` is that very object and
                            // the rest is true
  Aval info;
  const void *data = nullptr;
  uint64_t token = 0; // 0: not known to be the same contents next time
  bool committed = false;

  void forget();
};

enum class Read { Ok, Tracer, Error };

// What one call holds: its leaves, and the objects that were made for it.
struct LeafValue {
  PyObject *object = nullptr; // the argument
  PyObject *array = nullptr;  // the jax.Array that stands for it: the argument itself, or made by
                              // canonicalize; null: none needed
  Aval info;
  nanobind::object held; // if valid: keeps the memory of `array`, even if that is deleted
  const void *data = nullptr;
  uint64_t token = 0;
  bool committed = false;
  alignas(16) char scalar[16] = {}; // of a Python scalar
};

// Fills `value` from `value->object`. `needed`: its data will be read; `prepared`: a token saves
// work. `in_place`: NumPy arrays and Python scalars are read as they are; else they become
// jax.Arrays. What must live as long as the value is appended to `owned`. The value must not move
// afterwards.
struct Wanted {
  bool needed, prepared, in_place;
};
Read read_leaf(LeafValue *value, Leaf *leaf, PyObject *canonicalize, Wanted wanted,
               std::vector<nanobind::object> *owned);

// Whether jax.transfer_guard may have something to say: then NumPy arrays and scalars become
// jax.Arrays by JAX's own transfer, and results are none.
bool transfers_are_guarded();

// Whether Python has other threads than this one. Only with the GIL.
bool other_threads();
// Fills in `held` and `data` of a value that has an array. False: error set.
bool hold_data(LeafValue *value);
// JAX's words for a deleted array, if that is what went wrong; else the error at hand stays.
void explain_deleted(PyObject *array);
// False: error set, also if another call was faster; then the array is that one's.
bool delete_array(PyObject *array);

} // namespace sod2py
