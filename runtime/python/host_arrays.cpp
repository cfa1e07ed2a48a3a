#include "host_arrays.h"

#include "sod2rt.h"

#include <unordered_map>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

namespace nb = nanobind;

namespace sod2py {
namespace {

// Owns a block for NumPy: an array's base.
struct BlockObject {
  PyObject_HEAD void *block;
};

void destroy_block(PyObject *self) {
  sod2_block_put(reinterpret_cast<BlockObject *>(self)->block);
  PyTypeObject *type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyTypeObject *block_type = nullptr;

// The dtype of a code (borrowed); null: error set.
PyArray_Descr *descr_of(int64_t code) {
  static auto *descrs = new std::unordered_map<int64_t, PyArray_Descr *>();
  PyArray_Descr *&descr = (*descrs)[code];
  if (!descr) {
    nb::object number = nb::steal(PyLong_FromLongLong(code));
    PyObject *found = number.is_valid() ? call(jax.dtype_of, number.ptr()) : nullptr;
    if (found && !PyArray_DescrCheck(found)) {
      PyErr_SetString(PyExc_TypeError, "dtype_of must give NumPy dtypes");
      Py_CLEAR(found);
    }
    descr = reinterpret_cast<PyArray_Descr *>(found);
  }
  return descr;
}

// An ndarray over memory that is not its own; a new reference.
PyArrayObject *view(const sod2_host_array &array, int flags) {
  PyArray_Descr *descr = descr_of(array.dtype);
  if (!descr)
    return nullptr;
  Py_INCREF(descr); // the array takes it
  return reinterpret_cast<PyArrayObject *>(PyArray_NewFromDescr(
      &PyArray_Type, descr, static_cast<int>(array.rank),
      reinterpret_cast<const npy_intp *>(array.dims), nullptr, array.data, flags, nullptr));
}

// The code of a dtype; -1 for one that has none (error cleared).
int64_t code_of(PyArray_Descr *descr) {
  static auto *codes = new std::unordered_map<PyArray_Descr *, std::pair<nb::object, int64_t>>();
  auto found = codes->find(descr);
  if (found != codes->end())
    return found->second.second;
  nb::object code = nb::steal(call(jax.dtype_code, reinterpret_cast<PyObject *>(descr)));
  int64_t number = code.is_valid() ? PyLong_AsLongLong(code.ptr()) : -1;
  if (PyErr_Occurred())
    PyErr_Clear();
  if (codes->size() > 256) // descriptors of structured dtypes may be new objects every time
    codes->clear();
  codes->emplace(descr, std::make_pair(nb::borrow(reinterpret_cast<PyObject *>(descr)), number));
  return number;
}

} // namespace

bool init_numpy() {
  if (_import_array() < 0)
    return false;
  static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void *>(destroy_block)},
                                {0, nullptr}};
  static PyType_Spec spec = {"sod2jax._runtime.Block", sizeof(BlockObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  block_type = reinterpret_cast<PyTypeObject *>(PyType_FromSpec(&spec));
  return block_type != nullptr;
}

bool x64_enabled() {
  PyObject *value = PyObject_GetAttr(jax.enable_x64, names.value);
  if (!value) {
    PyErr_Clear();
    return false;
  }
  Py_DECREF(value);
  return value == Py_True;
}

Host view_host_array(PyObject *object, HostView *view) {
  if (!PyArray_CheckExact(object))
    return Host::Other;
  auto *array = reinterpret_cast<PyArrayObject *>(object);
  if (!PyArray_ISCARRAY_RO(array))
    return Host::Other;
  int64_t code = code_of(PyArray_DESCR(array));
  // JAX narrows 64-bit types unless told not to.
  if (code < 0 ||
      (PyArray_ITEMSIZE(array) >= 8 && !(code >> 8 == 5 && (code & 0xff) == 64) && !x64_enabled()))
    return Host::Other;
  static_assert(sizeof(npy_intp) == sizeof(int64_t), "sizes of arrays are 64-bit numbers");
  *view = {PyArray_DATA(array), code, PyArray_NDIM(array),
           reinterpret_cast<const int64_t *>(PyArray_DIMS(array))};
  return Host::Viewed;
}

PyObject *array_of_scalar(PyObject *object) {
  return PyArray_CheckScalar(object) && !PyArray_Check(object) ? PyArray_FromScalar(object, nullptr)
                                                               : nullptr;
}

const void *data_of_array(PyObject *array) {
  return PyArray_DATA(reinterpret_cast<PyArrayObject *>(array));
}

PyObject *host_array_of_block(void *block, const int64_t *dims, int64_t rank, PyObject *dtype) {
  PyObject *owner = block_type->tp_alloc(block_type, 0);
  if (!owner) {
    sod2_block_put(block);
    return nullptr;
  }
  reinterpret_cast<BlockObject *>(owner)->block = block;
  Py_INCREF(dtype); // the array takes it
  PyObject *array = PyArray_NewFromDescr(
      &PyArray_Type, reinterpret_cast<PyArray_Descr *>(dtype), static_cast<int>(rank),
      reinterpret_cast<const npy_intp *>(dims), nullptr, block, NPY_ARRAY_CARRAY, nullptr);
  if (!array) {
    Py_DECREF(owner);
    return nullptr;
  }
  if (PyArray_SetBaseObject(reinterpret_cast<PyArrayObject *>(array), owner) <
      0) // takes the owner, even if it fails
    Py_CLEAR(array);
  return array;
}

PyObject *view_of_memory(const sod2_host_array &array) {
  return reinterpret_cast<PyObject *>(view(array, NPY_ARRAY_CARRAY_RO));
}

bool copy_from(PyObject *value, const sod2_host_array &array, const char *what) {
  nb::object given = nb::steal(PyArray_FromAny(value, nullptr, 0, 0, 0, nullptr));
  nb::object to = nb::steal(reinterpret_cast<PyObject *>(view(array, NPY_ARRAY_CARRAY)));
  if (!given.is_valid() || !to.is_valid())
    return false;
  auto *from = reinterpret_cast<PyArrayObject *>(given.ptr());
  auto *memory = reinterpret_cast<PyArrayObject *>(to.ptr());
  bool same_type = PyArray_EquivTypes(PyArray_DESCR(from), PyArray_DESCR(memory));
  if (!same_type || !PyArray_SAMESHAPE(from, memory)) {
    nb::object shape = nb::steal(
        PyArray_IntTupleFromIntp(PyArray_NDIM(from), const_cast<npy_intp *>(PyArray_DIMS(from))));
    nb::object wanted = nb::steal(PyArray_IntTupleFromIntp(
        PyArray_NDIM(memory), const_cast<npy_intp *>(PyArray_DIMS(memory))));
    if (shape.is_valid() && wanted.is_valid())
      PyErr_Format(same_type ? PyExc_ValueError : PyExc_TypeError,
                   "%s is %S of shape %S, expected %S of shape %S", what, PyArray_DESCR(from),
                   shape.ptr(), PyArray_DESCR(memory), wanted.ptr());
    return false;
  }
  return PyArray_CopyInto(memory, from) == 0;
}

} // namespace sod2py
