// How a leaf is read, cheapest way first:
//  * the same array object as in the last call: only ask whether it was deleted;
//  * another jax.Array: aval (cached by identity), sharding (cached by identity), wait until it is
//  ready, pointer;
//  * a NumPy array in order and in a dtype that JAX keeps, a Python scalar: in place;
//  * a Tracer: the caller inlines the function;
//  * anything else: the `canonicalize` callback makes a jax.Array of it, or raises.
#include "inputs.h"

#include "host_arrays.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <unordered_map>

namespace nb = nanobind;

namespace sod2py {
namespace {

constexpr size_t kMostShardings = 64;
size_t most_avals = 8192;

// By the aval object, which lives as long as its entry; and by a hash of what it says.
std::unordered_map<PyObject *, Aval> *avals = new std::unordered_map<PyObject *, Aval>();
std::unordered_multimap<uint64_t, Aval> *plain = new std::unordered_multimap<uint64_t, Aval>();
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

// The pointer of an array, after whatever computes it is done. To wait releases the GIL, so where
// there are other threads, the array is held first: one of them may delete it meanwhile.
bool read_data(LeafValue *value) {
  if (other_threads())
    return hold_data(value);
  PyObject *array = value->array;
  PyObject *done = call(jax.block_until_ready, array);
  if (!done) {
    explain_deleted(array);
    return false;
  }
  Py_DECREF(done);
  PyObject *address = call(jax.unsafe_buffer_pointer, array);
  if (!address) {
    explain_deleted(array);
    return false;
  }
  value->data = PyLong_AsVoidPtr(address);
  Py_DECREF(address);
  return value->data || !PyErr_Occurred();
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
  return static_cast<bool>(value->info);
}

void make_room() {
  if (avals->size() + plain->size() < most_avals)
    return;
  // Taken out first: what the last owner of an aval drops may run code that comes back here.
  std::unordered_map<PyObject *, Aval> old_avals;
  std::unordered_multimap<uint64_t, Aval> old_plain;
  old_avals.swap(*avals);
  old_plain.swap(*plain);
}

// What JAX makes of a Python scalar of this type: dtype and weak type. Depends on the x64 flag
// only.
const std::pair<int64_t, bool> *scalar_kind(PyObject *object, bool x64) {
  static std::unordered_map<PyTypeObject *, std::pair<int64_t, bool>> kinds[2];
  auto found = kinds[x64].find(Py_TYPE(object));
  if (found == kinds[x64].end()) {
    nb::object info = nb::steal(call(jax.scalar_info, object));
    if (!info.is_valid())
      return nullptr;
    auto kind = std::make_pair(nb::cast<int64_t>(info[0]), nb::cast<bool>(info[1]));
    found = kinds[x64].emplace(Py_TYPE(object), kind).first;
  }
  return &found->second;
}

template <typename T> void put(LeafValue *value, T number) {
  std::memcpy(value->scalar, &number, sizeof number);
}

// Whether the object is a Python scalar that was written to `value->scalar`.
bool read_scalar(PyObject *object, LeafValue *value) {
  bool is_bool = PyBool_Check(object), is_int = PyLong_CheckExact(object),
       is_float = PyFloat_CheckExact(object);
  if (!is_bool && !is_int && !is_float)
    return false;
  const std::pair<int64_t, bool> *kind = scalar_kind(object, x64_enabled());
  if (!kind) {
    PyErr_Clear();
    return false;
  }
  switch (kind->first) {
  case 6 << 8 | 8:
    put<char>(value, object == Py_True);
    break;
  case 0 << 8 | 32:
  case 0 << 8 | 64: {
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
    bool narrow = (kind->first & 0xff) == 32;
    if (overflow || (narrow && (number < INT32_MIN || number > INT32_MAX)))
      return false; // JAX has words for it
    narrow ? put(value, static_cast<int32_t>(number)) : put(value, static_cast<int64_t>(number));
    break;
  }
  case 2 << 8 | 32:
    put(value, static_cast<float>(PyFloat_AS_DOUBLE(object)));
    break;
  case 2 << 8 | 64:
    put(value, PyFloat_AS_DOUBLE(object));
    break;
  default:
    return false;
  }
  value->info = plain_info(kind->first, nullptr, 0, kind->second);
  value->data = value->scalar;
  return true;
}

bool read_host_array(PyObject *object, LeafValue *value, std::vector<nb::object> *owned) {
  nb::object array = nb::steal(array_of_scalar(object));
  if (!array.is_valid())
    PyErr_Clear();
  HostView view;
  if (view_host_array(array.is_valid() ? array.ptr() : object, &view) != Host::Viewed)
    return false;
  if (array.is_valid())
    owned->push_back(std::move(array));
  value->info = plain_info(view.dtype, view.dims, view.rank, false);
  value->data = view.data;
  return true;
}

void remember(Leaf *leaf, const LeafValue &value, bool prepared) {
  bool again =
      leaf->seen ==
      value.object; // twice at one address: probably a weight, so it is worth a weak reference
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
  // What others may change in place has no name: it is prepared again at every call.
  PyObject *foreign = prepared ? call(jax.is_foreign, value.object) : Py_NewRef(Py_False);
  if (!foreign) {
    PyErr_Clear();
    return;
  }
  leaf->token = foreign == Py_True ? 0 : ++last_token;
  Py_DECREF(foreign);
}

} // namespace

bool other_threads() {
  PyThreadState *first = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
  return first && PyThreadState_Next(first);
}

// By NumPy's view of the array, the one reference to its memory that jaxlib makes safely while other
// threads delete it, and for every dtype. (A DLPack capsule or a memoryview may end the process
// then.)
bool hold_data(LeafValue *value) {
  nb::object pair = nb::steal(call(jax.numpy_view, value->array));
  if (!pair.is_valid()) {
    explain_deleted(value->array);
    return false;
  }
  bool is_pair = PyTuple_CheckExact(pair.ptr()) && PyTuple_GET_SIZE(pair.ptr()) == 2;
  if (!is_pair || PyTuple_GET_ITEM(pair.ptr(), 1) != Py_False) {
    PyErr_Format(PyExc_RuntimeError, "JAX copied %R, which is in the memory of the CPU",
                 value->array);
    return false;
  }
  value->data = data_of_array(PyTuple_GET_ITEM(pair.ptr(), 0));
  value->held = std::move(pair);
  return true;
}

void explain_deleted(PyObject *array) {
  nb::python_error at_hand; // takes the error indicator over
  PyObject *none = call(jax.check_if_deleted, array);
  if (none) {
    Py_DECREF(none);
    at_hand.restore();
  }
}

bool delete_array(PyObject *array) {
  for (PyObject *method : {jax.check_if_deleted, jax.delete_array}) {
    PyObject *none = call(method, array);
    if (!none)
      return false;
    Py_DECREF(none);
  }
  return true;
}

void Leaf::forget() {
  Py_CLEAR(weak);
  *this = Leaf();
}

bool transfers_are_guarded() {
  PyObject *level = PyObject_GetAttr(jax.transfer_guard, names.value);
  if (!level) {
    PyErr_Clear();
    return true;
  }
  Py_DECREF(level);
  return level != Py_None;
}

void set_most_avals(size_t count) { most_avals = count; }

Aval aval_info(PyObject *aval) {
  auto found = avals->find(aval);
  if (found != avals->end())
    return found->second;
  Aval made;
  try {
    auto info = std::make_unique<AvalInfo>(AvalInfo{nb::borrow(aval), 0, false, {}});
    nb::object code = nb::steal(call(jax.dtype_code, nb::object(info->aval.attr("dtype")).ptr()));
    if (!code.is_valid())
      return {};
    info->dtype = nb::cast<int64_t>(code);
    info->weak_type = nb::cast<bool>(info->aval.attr("weak_type"));
    for (nb::handle dim : nb::object(info->aval.attr("shape")))
      info->dims.push_back(nb::cast<int64_t>(dim));
    made = Aval(info.release());
  } catch (nb::python_error &error) {
    error.restore();
    return {};
  } catch (const std::exception &) {
    PyErr_Format(PyExc_TypeError, "%R is no shape of an array", aval);
    return {};
  }
  make_room();
  return avals->emplace(aval, made).first->second; // the first, if asking Python made one as well
}

Aval plain_info(int64_t dtype, const int64_t *dims, int64_t rank, bool weak_type) {
  uint64_t hash = static_cast<uint64_t>(dtype) * 2 + weak_type;
  for (int64_t i = 0; i < rank; ++i)
    hash = (hash ^ static_cast<uint64_t>(dims[i])) * 0xff51afd7ed558ccdu;
  auto range = plain->equal_range(hash);
  for (auto i = range.first; i != range.second; ++i) {
    const AvalInfo &info = *i->second;
    if (info.dtype == dtype && info.weak_type == weak_type &&
        static_cast<int64_t>(info.dims.size()) == rank &&
        std::equal(dims, dims + rank, info.dims.begin()))
      return i->second;
  }
  Aval made(
      new AvalInfo{nb::none(), dtype, weak_type, std::vector<int64_t>(dims, dims + rank)});
  make_room();
  plain->emplace(hash, made);
  return made;
}

Read read_leaf(LeafValue *value, Leaf *leaf, PyObject *canonicalize, Wanted wanted,
               std::vector<nb::object> *owned) {
  PyObject *object = value->object;
  if (same_array_as_before(leaf, object, wanted.needed)) {
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
  } else if (wanted.in_place && !transfers_are_guarded() &&
             (read_host_array(object, value, owned) || read_scalar(object, value))) {
    return Read::Ok;
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
  if (wanted.needed && !read_data(value))
    return Read::Error;
  value->token = 0;
  if (own) {
    remember(leaf, *value, wanted.prepared);
    value->token = leaf->token;
  }
  return Read::Ok;
}

} // namespace sod2py
