#pragma once
#include "jax_names.h"

#include "sod2rt.h"

#include <string>
#include <vector>

namespace sod2py {

// A program with what it stands on: its image, its constants and whatever holds its machine code.
class Program {
public:
  // hosts: (name, callable) of each function that it calls.
  Program(nanobind::bytes image, const std::vector<uintptr_t> &kernels, nanobind::list constants,
          nanobind::object keepalive, nanobind::list hosts, bool poison);
  ~Program();
  Program(const Program &) = delete;
  Program &operator=(const Program &) = delete;

  nanobind::dict bind(const std::vector<std::vector<int64_t>> &shapes);
  nanobind::list run(nanobind::list arrays) { return execute(arrays, 0, nullptr); }
  nanobind::list profile(nanobind::list arrays, int repeats);
  nanobind::dict stats() const;
  nanobind::list inputs() const { return describe(inputs_); }
  nanobind::list outputs() const { return describe(outputs_); }

  sod2_program *handle() const { return handle_; }
  bool has_hosts() const { return PyTuple_GET_SIZE(hosts.ptr()) > 0; }
  const std::vector<sod2_tensor_info> &input_infos() const { return inputs_; }
  const std::vector<sod2_tensor_info> &output_infos() const { return outputs_; }
  nanobind::object keepalive; // seen by the garbage collector
  nanobind::object hosts;     // as well; a tuple

private:
  nanobind::list execute(nanobind::list arrays, uint64_t first_token,
                         std::vector<int64_t> *step_ns);
  static nanobind::list describe(const std::vector<sod2_tensor_info> &infos);

  sod2_program *handle_ = nullptr;
  std::vector<int64_t> image_;
  nanobind::list constants_;
  std::vector<sod2_tensor_info> inputs_, outputs_;
};

std::string dtype_name(int64_t code);

} // namespace sod2py
