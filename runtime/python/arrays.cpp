// An output's way to the user:
//  * a block of the pool, whose header has room for a DLPack tensor: nothing else is allocated;
//  * DLPack hands it to JAX, which calls the deleter when the buffer's last holder is gone (arrays, NumPy views, running
//    computations), from whatever thread that is: then the block is idle again;
//  * arrays from DLPack are committed and strongly typed; a result handler of JAX turns that into what jax.jit returns.
#include "arrays.h"

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

constexpr int64_t kMostDims = 24;
struct Header {
  DLManagedTensor managed;
  int64_t shape[kMostDims];
};
static_assert(sizeof(Header) <= SOD2_BLOCK_HEADER, "the header must fit before a block");
constexpr size_t kHeaderAt = SOD2_BLOCK_HEADER + 64; // before the data: ours, then the pool's own

sod2_block_pool *pool() {
  static sod2_block_pool *the_pool = sod2_block_pool_create(nullptr); // arrays may outlive everything else
  return the_pool;
}

void give_block_back(DLManagedTensor *managed) { sod2_block_put(managed->context); }

// Called only if JAX did not take the tensor over.
void drop_capsule(PyObject *capsule) {
  auto *managed = static_cast<DLManagedTensor *>(PyCapsule_GetPointer(capsule, "dltensor"));
  if (managed)
    managed->deleter(managed);
  else
    PyErr_Clear();
}

} // namespace

void *take_block(int64_t bytes) {
  void *block = sod2_block_get(pool(), static_cast<size_t>(bytes));
  if (!block)
    PyErr_Format(jax.memory_error, "could not allocate %lld bytes for an output", static_cast<long long>(bytes));
  return block;
}

void drop_block(void *block) { sod2_block_put(block); }

PyObject *array_of_block(void *block, const int64_t *dims, int64_t rank, int64_t dtype) {
  auto *header = reinterpret_cast<Header *>(static_cast<char *>(block) - kHeaderAt);
  if (rank > kMostDims) {
    drop_block(block);
    PyErr_Format(PyExc_ValueError, "outputs have at most %lld axes", static_cast<long long>(kMostDims));
    return nullptr;
  }
  for (int64_t i = 0; i < rank; ++i)
    header->shape[i] = dims[i];
  header->managed = {{block,
                      {1, 0}, // kDLCPU
                      static_cast<int32_t>(rank),
                      {static_cast<uint8_t>(dtype >> 8), static_cast<uint8_t>(dtype & 0xff), 1},
                      header->shape,
                      nullptr,
                      0},
                     block,
                     give_block_back};
  PyObject *capsule = PyCapsule_New(&header->managed, "dltensor", drop_capsule);
  if (!capsule) {
    drop_block(block);
    return nullptr;
  }
  PyObject *arguments[] = {capsule, jax.device, Py_None, Py_False};
  PyObject *array = PyObject_Vectorcall(jax.array_from_dlpack, arguments, 4, nullptr);
  Py_DECREF(capsule);
  return array;
}

nb::object make_handler(const int64_t *dims, int64_t rank, int64_t dtype, bool weak_type, bool committed) {
  nb::list shape;
  for (int64_t i = 0; i < rank; ++i)
    shape.append(dims[i]);
  nb::object aval = nb::handle(jax.make_aval)(nb::tuple(shape), dtype, weak_type);
  return nb::handle(jax.result_handler)(aval, nb::handle(jax.sharding), committed, true);
}

} // namespace sod2py
