#pragma once
#include "inputs.h"

#include "sod2rt.h"

#include <vector>

namespace sod2py {

class Program;

// One run of a program, and what it reads meanwhile. See run.cpp.
class Run {
public:
  // `values` of a call, of which the leaves `reads` are read (null: all), and the leaves `donated`
  // are deleted once the run cannot go back. All of them outlive the run.
  Run(const Program *program, std::vector<LeafValue> *values, const std::vector<int64_t> *reads,
      const std::vector<int64_t> *donated);
  ~Run();
  Run(const Run &) = delete;
  Run &operator=(const Run &) = delete;

  // Not SOD2_OK: either `error` says why, or the error of Python is set.
  sod2_status go(sod2_plan *plan, int64_t work, const sod2_input *inputs, void *const *outputs,
                 int64_t *step_ns, sod2_error *error);
  // Makes sure that what is read stays, whatever other code does. With the GIL; false: error set.
  bool hold();
  // The hook of a long run: whether it must stop, with the error of Python set.
  bool poll();

  static Run *current(); // the innermost of this thread

private:
  size_t count() const { return reads_ ? reads_->size() : values_->size(); }
  LeafValue &read(size_t i) const {
    return (*values_)[reads_ ? static_cast<size_t>((*reads_)[i]) : i];
  }
  bool still_there() const;
  bool delete_donated();

  const Program *program_;
  std::vector<LeafValue> *values_;
  const std::vector<int64_t> *reads_, *donated_;
  bool holds_ = false;
  PyThreadState *released_ = nullptr;
  Run *around_;
};

} // namespace sod2py
