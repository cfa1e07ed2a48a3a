// An output's way to the user:
//  * a block of the pool, whose header has room for a DLPack tensor: nothing else is allocated;
//  * small ones go as a NumPy array through the function behind jax.device_put, the cheapest
//  entrance that JAX has; it releases
//    them at its next call;
//  * large ones go through DLPack, whose deleter is called at once when the buffer's last holder is
//  gone (arrays, NumPy views,
//    running computations), from whatever thread that is. Such arrays are committed and strongly
//    typed; a result handler of JAX turns that into what jax.jit returns.
#include "arrays.h"

#include "host_arrays.h"
#include "inputs.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

namespace nb = nanobind;

namespace sod2py {
namespace {

// https://dmlc.github.io/dlpack, version 0.8
struct DLTensor {
  void *data;
  struct {
    int32_t type, id;
  } device;
  int32_t ndim;
  struct {
    uint8_t code, bits;
    uint16_t lanes;
  } dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor tensor;
  void *context;
  void (*deleter)(DLManagedTensor *);
};

constexpr int64_t kMostPut = 1 << 18; // bytes
constexpr int64_t kMostDims = 24;
struct Header {
  DLManagedTensor managed;
  int64_t shape[kMostDims];
};
static_assert(sizeof(Header) <= SOD2_BLOCK_HEADER, "the header must fit before a block");
constexpr size_t kHeaderAt = SOD2_BLOCK_HEADER + 64; // before the data: ours, then the pool's own

sod2_block_pool *pool() {
  static sod2_block_pool *the_pool =
      sod2_block_pool_create(nullptr); // arrays may outlive everything else
  return the_pool;
}

// How many hold each block that DLPack was given: its array, and calls that pinned it. Deleters run
// on any thread, with or without the GIL.
struct Holders {
  std::mutex mutex;
  std::unordered_map<const void *, int> count;
};
Holders &holders() {
  static auto *all = new Holders();
  return *all;
}

void let_go(void *block) {
  Holders &all = holders();
  {
    std::lock_guard<std::mutex> lock(all.mutex);
    auto found = all.count.find(block);
    if (--found->second > 0)
      return;
    all.count.erase(found);
  }
  sod2_block_put(block);
}

void give_block_back(DLManagedTensor *managed) { let_go(managed->context); }

// Called only if JAX did not take the tensor over.
void drop_capsule(PyObject *capsule) {
  auto *managed = static_cast<DLManagedTensor *>(PyCapsule_GetPointer(capsule, "dltensor"));
  if (managed)
    managed->deleter(managed);
  else
    PyErr_Clear();
}

void drop(void *block) { sod2_block_put(block); }

// By DLPack: works for every size and gives large blocks back at once, but costs a microsecond
// more.
PyObject *import_block(void *block, OutputKind *kind, bool committed) {
  auto *header = reinterpret_cast<Header *>(static_cast<char *>(block) - kHeaderAt);
  auto rank = static_cast<int64_t>(kind->dims.size());
  if (rank > kMostDims) {
    drop(block);
    PyErr_Format(PyExc_ValueError, "outputs have at most %lld axes",
                 static_cast<long long>(kMostDims));
    return nullptr;
  }
  std::copy(kind->dims.begin(), kind->dims.end(), header->shape);
  header->managed = {
      {block,
       {1, 0}, // kDLCPU
       static_cast<int32_t>(rank),
       {static_cast<uint8_t>(kind->dtype >> 8), static_cast<uint8_t>(kind->dtype & 0xff), 1},
       header->shape,
       nullptr,
       0},
      block,
      give_block_back};
  {
    std::lock_guard<std::mutex> lock(holders().mutex);
    holders().count[block] = 1;
  }
  PyObject *capsule = PyCapsule_New(&header->managed, "dltensor", drop_capsule);
  if (!capsule) {
    let_go(block);
    return nullptr;
  }
  PyObject *arguments[] = {capsule, jax.device, Py_None, Py_False};
  nb::object array = nb::steal(PyObject_Vectorcall(jax.array_from_dlpack, arguments, 4, nullptr));
  Py_DECREF(capsule);
  if (!array.is_valid())
    return nullptr;
  nb::object &handler = kind->handlers[committed];
  if (!handler.is_valid()) {
    PyObject *values[] = {kind->aval.ptr(), jax.sharding, committed ? Py_True : Py_False};
    handler = nb::steal(PyObject_Vectorcall(jax.result_handler, values, 3, nullptr));
    if (!handler.is_valid())
      return nullptr;
  }
  return call(handler.ptr(), array.ptr());
}

} // namespace

void *take_block(int64_t bytes) {
  void *block = sod2_block_get(pool(), static_cast<size_t>(bytes));
  if (!block)
    PyErr_Format(jax.memory_error, "could not allocate %lld bytes for an output",
                 static_cast<long long>(bytes));
  return block;
}

void drop_block(void *block) { drop(block); }

bool pin_block(const void *data) {
  std::lock_guard<std::mutex> lock(holders().mutex);
  auto found = holders().count.find(data);
  if (found == holders().count.end())
    return false;
  ++found->second;
  return true;
}

bool claim_block(const void *data, int64_t bytes) {
  std::lock_guard<std::mutex> lock(holders().mutex);
  auto found = holders().count.find(data);
  if (found->second != 1 || sod2_block_bytes(data) < static_cast<size_t>(bytes))
    return false;
  holders().count.erase(found);
  return true;
}

void unpin_block(const void *data) { let_go(const_cast<void *>(data)); }

OutputKind make_output_kind(const int64_t *dims, int64_t rank, int64_t dtype, int64_t bytes,
                            bool weak_type) {
  OutputKind kind;
  kind.dims.assign(dims, dims + rank);
  kind.dtype = dtype;
  kind.bytes = bytes;
  nb::list shape;
  for (int64_t dim : kind.dims)
    shape.append(dim);
  kind.aval = nb::handle(jax.make_aval)(nb::tuple(shape), dtype, weak_type);
  kind.numpy_dtype = nb::handle(jax.dtype_of)(dtype);
  return kind;
}

PyObject *array_of_block(void *block, OutputKind *kind, bool committed) {
  if (kind->bytes > kMostPut || jax.put_array == Py_None || transfers_are_guarded())
    return import_block(block, kind, committed);
  nb::object array = nb::steal(host_array_of_block(
      block, kind->dims.data(), static_cast<int64_t>(kind->dims.size()), kind->numpy_dtype.ptr()));
  if (!array.is_valid())
    return nullptr;
  nb::object arrays = nb::steal(PyList_New(1));
  if (!arrays.is_valid())
    return nullptr;
  PyList_SET_ITEM(arrays.ptr(), 0, Py_NewRef(array.ptr()));
  PyObject *values[] = {
      kind->aval.ptr(), jax.sharding,  arrays.ptr(), jax.devices, committed ? Py_True : Py_False,
      Py_False,         jax.zero_copy, Py_True};
  return PyObject_Vectorcall(jax.put_array, values, 8, nullptr);
}

} // namespace sod2py
