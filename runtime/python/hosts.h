#pragma once
#include "jax_names.h"

// Functions of this process that programs call: each is (name, callable).
namespace sod2py {

// Calls a function with NumPy arrays over `reads`, and copies its results to `writes`. If that
// fails, the Python error stays set in this thread, and SOD2_HOST is given.
sod2_status call_host(nanobind::handle function, const sod2_host_array *reads, size_t n_reads,
                      const sod2_host_array *writes, size_t n_writes);
// Whether a signal's handler raised (Ctrl-C): then the error stays set in this thread.
bool interrupted();

} // namespace sod2py
