// How a leaf is read, cheapest way first:
//  * the same array object as in the last call: only ask whether it was deleted;
//  * another jax.Array: aval (cached by identity), sharding (cached by identity), wait until it is ready, pointer;
//  * a Tracer: the caller inlines the function;
//  * anything else: the `canonicalize` callback makes a jax.Array of it, or raises.
#include "inputs.h"

#include <unordered_map>

namespace nb = nanobind;

namespace sod2py {
namespace {

constexpr size_t kMostAvals = 8192, kMostShardings = 64;

std::unordered_map<PyObject *, AvalInfo> *avals = new std::unordered_map<PyObject *, AvalInfo>();
uint64_t generation = 1;
std::unordered_map<PyObject *, std::pair<nb::object, bool>> *shardings =
    new std::unordered_map<PyObject *, std::pair<nb::object, bool>>();
uint64_t last_token = 0;

bool alive(PyObject *weak, PyObject *object) {
#if PY_VERSION_HEX >= 0x030d0000
  PyObject *target = nullptr;
  if (PyWeakref_GetRef(weak, &target) <= 0)
    return false;
  Py_DECREF(target); // `object` holds another reference if it is the same
  return target == object;
#else
  return PyWeakref_GET_OBJECT(weak) == object;
#endif
}

// 1: arrays of this sharding are one buffer in the CPU's memory; 0: not; -1: error.
int is_local(PyObject *sharding) {
  auto found = shardings->find(sharding);
  if (found != shardings->end())
    return found->second.second;
  PyObject *answer = call(jax.is_local, sharding);
  if (!answer)
    return -1;
  bool local = answer == Py_True;
  Py_DECREF(answer);
  if (shardings->size() >= kMostShardings)
    shardings->clear();
  shardings->emplace(sharding, std::make_pair(nb::borrow(sharding), local));
  return local;
}

int attribute_is_true(PyObject *object, PyObject *name) {
  PyObject *value = PyObject_GetAttr(object, name);
  if (!value)
    return -1;
  int result = value == Py_True ? 1 : value == Py_False ? 0 : PyObject_IsTrue(value);
  Py_DECREF(value);
  return result;
}

// JAX's words for a deleted array, if that is what went wrong; else the error at hand stays.
void explain(PyObject *array) {
  nb::python_error at_hand; // takes the error indicator over
  PyObject *none = call(jax.check_if_deleted, array);
  if (none) {
    Py_DECREF(none);
    at_hand.restore();
  }
}

// The pointer of an array, after whatever computes it is done.
bool read_data(PyObject *array, const void **data) {
  PyObject *done = call(jax.block_until_ready, array);
  if (!done) {
    explain(array);
    return false;
  }
  Py_DECREF(done);
  PyObject *address = call(jax.unsafe_buffer_pointer, array);
  if (!address) {
    explain(array);
    return false;
  }
  *data = PyLong_AsVoidPtr(address);
  Py_DECREF(address);
  return *data || !PyErr_Occurred();
}

bool same_array_as_before(Leaf *leaf, PyObject *object, bool needed) {
  return leaf->weak && leaf->seen == object && (leaf->data || !needed) && alive(leaf->weak, object);
}

// Whether `array` can be read in place: 1 yes, 0 no (the callback moves it), -1 error.
int readable(PyObject *array, LeafValue *value) {
  PyObject *sharding = PyObject_GetAttr(array, names.sharding);
  if (!sharding)
    return -1;
  int local = is_local(sharding);
  Py_DECREF(sharding);
  if (local <= 0)
    return local;
  int committed = attribute_is_true(array, names.committed);
  if (committed < 0)
    return -1;
  value->committed = committed;
  // Only what a user placed can have a layout of its own, and such arrays are committed.
  if (committed && value->info->dims.size() > 1) {
    PyObject *answer = call(jax.is_row_major, array);
    if (!answer)
      return -1;
    Py_DECREF(answer);
    return answer == Py_True;
  }
  return 1;
}

bool read_aval(PyObject *array, LeafValue *value) {
  PyObject *aval = PyObject_GetAttr(array, names.aval);
  if (!aval)
    return false;
  value->info = aval_info(aval);
  Py_DECREF(aval);
  return value->info != nullptr;
}

void remember(Leaf *leaf, const LeafValue &value, bool prepared) {
  bool again = leaf->seen == value.object; // twice at one address: probably a weight, so it is worth a weak reference
  leaf->forget();
  leaf->seen = value.object;
  if (!again && !prepared)
    return;
  leaf->weak = PyWeakref_NewRef(value.object, nullptr);
  if (!leaf->weak) {
    PyErr_Clear();
    return;
  }
  leaf->info = value.info;
  leaf->data = value.data;
  leaf->committed = value.committed;
  leaf->token = ++last_token;
}

} // namespace

void Leaf::forget() {
  Py_CLEAR(weak);
  *this = Leaf();
}

uint64_t aval_generation() { return generation; }

const AvalInfo *aval_info(PyObject *aval) {
  auto found = avals->find(aval);
  if (found != avals->end())
    return &found->second;
  AvalInfo info = {nb::borrow(aval), 0, false, {}};
  try {
    nb::object code = nb::steal(call(jax.dtype_code, nb::object(info.aval.attr("dtype")).ptr()));
    if (!code.is_valid())
      return nullptr;
    info.dtype = nb::cast<int64_t>(code);
    info.weak_type = nb::cast<bool>(info.aval.attr("weak_type"));
    for (nb::handle dim : nb::object(info.aval.attr("shape")))
      info.dims.push_back(nb::cast<int64_t>(dim));
  } catch (nb::python_error &error) {
    error.restore();
    return nullptr;
  } catch (const std::exception &) {
    PyErr_Format(PyExc_TypeError, "%R is no shape of an array", aval);
    return nullptr;
  }
  if (avals->size() >= kMostAvals) {
    // Whoever holds a pointer from before sees another generation and asks again. The old ones live until the next time, since
    // the call at hand may hold some.
    static auto *old = new std::unordered_map<PyObject *, AvalInfo>();
    old->clear();
    old->swap(*avals);
    ++generation;
  }
  return &avals->emplace(aval, std::move(info)).first->second;
}

Read read_leaf(LeafValue *value, Leaf *leaf, PyObject *canonicalize, bool needed, bool prepared,
               std::vector<nb::object> *owned) {
  PyObject *object = value->object;
  if (same_array_as_before(leaf, object, needed)) {
    PyObject *deleted = call(jax.is_deleted, object);
    if (!deleted)
      return Read::Error;
    Py_DECREF(deleted);
    if (deleted == Py_False) {
      value->array = object;
      value->info = leaf->info;
      value->data = leaf->data;
      value->token = leaf->token;
      value->committed = leaf->committed;
      return Read::Ok;
    }
  }
  bool own = false;
  if (reinterpret_cast<PyObject *>(Py_TYPE(object)) == jax.array_type) {
    if (!read_aval(object, value))
      return Read::Error;
    int in_place = readable(object, value);
    if (in_place < 0)
      return Read::Error;
    own = in_place;
  } else {
    int tracer = PyObject_IsInstance(object, jax.tracer_type);
    if (tracer)
      return tracer < 0 ? Read::Error : Read::Tracer;
  }
  value->array = object;
  if (!own) {
    nb::object made = nb::steal(call(canonicalize, object));
    if (!made.is_valid())
      return Read::Error;
    if (reinterpret_cast<PyObject *>(Py_TYPE(made.ptr())) != jax.array_type) {
      PyErr_Format(PyExc_TypeError, "canonicalize gave %R instead of a jax.Array", made.ptr());
      return Read::Error;
    }
    value->array = made.ptr();
    owned->push_back(std::move(made));
    if (!read_aval(value->array, value))
      return Read::Error;
    value->committed = false;
  }
  if (needed && !read_data(value->array, &value->data))
    return Read::Error;
  value->token = 0;
  if (own) {
    remember(leaf, *value, prepared);
    value->token = leaf->token;
  }
  return Read::Ok;
}

} // namespace sod2py
