#pragma once
#include "jax_names.h"

#include <vector>

// Reading the leaves of a call: pointer, dtype and shape of each, without asking again for an array
// seen in the last call.
namespace sod2py {

// What an aval says; one for each aval object that came by. Valid until `aval_generation` changes.
struct AvalInfo {
  nanobind::object aval; // none for NumPy arrays and Python scalars
  int64_t dtype;
  bool weak_type;
  std::vector<int64_t> dims;
};
const AvalInfo *aval_info(PyObject *aval); // null: error set
const AvalInfo *plain_info(int64_t dtype, const int64_t *dims, int64_t rank, bool weak_type);
uint64_t aval_generation();

// One leaf position. Nothing here keeps the user's array alive.
struct Leaf {
  PyObject *seen = nullptr; // address of the last object, only to be compared
  PyObject *weak = nullptr; // weak reference to it: if it is alive, `seen` is that very object and
                            // the rest is true
  const AvalInfo *info = nullptr;
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
  const AvalInfo *info = nullptr;
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

} // namespace sod2py
