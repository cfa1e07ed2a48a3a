#pragma once
#include "jax_names.h"

// Functions of this process that programs call: each is (name, callable).
namespace sod2py {

struct Gil { // holds it, whether this thread had it already or not
  PyGILState_STATE state = PyGILState_Ensure();
  Gil() = default;
  ~Gil() { PyGILState_Release(state); }
  Gil(const Gil &) = delete;
  Gil &operator=(const Gil &) = delete;
};

// Calls a function with NumPy arrays over `reads`, and copies its results to `writes`. If that
// fails, the Python error stays set in this thread, and SOD2_HOST is given. With the GIL.
sod2_status call_host(nanobind::handle function, const sod2_host_array *reads, size_t n_reads,
                      const sod2_host_array *writes, size_t n_writes);

} // namespace sod2py
