// How a run keeps what it reads, as jax.jit does, and yet costs nothing where nothing can happen:
//  * While this thread keeps the GIL, no other code of Python runs, so nobody deletes an array. It
//  is kept where the run is short, or where no other thread of Python is there to wait for it.
//  * Before other code can run (the GIL is released, a host function or a signal's handler is
//  called), every array that is read is held: an external reference keeps its memory until the run
//  is over, whether the array is deleted, donated or dropped meanwhile.
//  * Arrays that the call donates are deleted at that moment, so a second call that wants them gets
//  JAX's error. Of a run that held nothing they are deleted at its end.
//  * One thing goes on without the GIL: a computation of XLA that another thread has started may
//  take a donated array over. It writes there, but cannot free it without the GIL; so a run that
//  held nothing asks again afterwards, and gives no result that may be wrong.
#include "run.h"

#include "hosts.h"
#include "program.h"

namespace nb = nanobind;

namespace sod2py {
namespace {

constexpr int64_t kReleaseWork =
    100000; // scalar operations, some microseconds: handing the GIL over pays

thread_local Run *current_run = nullptr;

} // namespace

Run::Run(const Program *program, std::vector<LeafValue> *values, const std::vector<int64_t> *reads,
         const std::vector<int64_t> *donated)
    : program_(program), values_(values), reads_(reads), donated_(donated), around_(current_run) {
  current_run = this;
}

Run::~Run() { current_run = around_; }

Run *Run::current() { return current_run; }

sod2_status Run::go(sod2_plan *plan, int64_t work, const sod2_input *inputs, void *const *outputs,
                    int64_t *step_ns, sod2_error *error) {
  const bool others = other_threads();
  // A host function may start threads, which would wait for the GIL until the run is over.
  if (work >= kReleaseWork && (others || program_->has_hosts())) {
    if (!hold())
      return SOD2_HOST;
    released_ = PyEval_SaveThread();
  }
  sod2_status status = sod2_run(program_->handle(), plan, inputs, outputs, step_ns, error);
  if (released_) {
    PyEval_RestoreThread(released_);
    released_ = nullptr;
  }
  if (status || holds_)
    return status;
  return (!others || still_there()) && delete_donated() ? SOD2_OK : SOD2_HOST;
}

bool Run::hold() {
  if (holds_)
    return true;
  for (size_t i = 0; i < count(); ++i)
    if (LeafValue &value = read(i); value.array && !value.held.is_valid() && !hold_data(&value))
      return false;
  holds_ = true;
  return delete_donated();
}

bool Run::delete_donated() {
  if (!donated_)
    return true;
  for (int64_t leaf : *donated_) {
    PyObject *&array = (*values_)[static_cast<size_t>(leaf)].array;
    if (!array) // NumPy's, which cannot be donated, or deleted already
      continue;
    if (!delete_array(array))
      return false;
    array = nullptr;
  }
  return true;
}

bool Run::still_there() const {
  for (size_t i = 0; i < count(); ++i) {
    PyObject *array = read(i).array;
    if (!array || read(i).held.is_valid())
      continue;
    PyObject *deleted = call(jax.is_deleted, array);
    if (!deleted)
      return false;
    Py_DECREF(deleted);
    if (deleted == Py_True) {
      PyObject *none = call(jax.check_if_deleted, array);
      if (none) {
        Py_DECREF(none);
        PyErr_SetString(jax.runtime_error, "Array has been deleted or donated by another thread "
                                           "while it was read.");
      }
      return false;
    }
  }
  return true;
}

bool Run::poll() {
  {
    Gil gil;
    if (!hold() || PyErr_CheckSignals())
      return true;
  }
  // It takes long enough by now for others to have the GIL, who may have come since.
  if (!released_)
    released_ = PyEval_SaveThread();
  return false;
}

} // namespace sod2py
