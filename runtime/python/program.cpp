#include "program.h"

#include "arrays.h"
#include "hosts.h"
#include "inputs.h"
#include "run.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <nanobind/stl/string.h>

namespace nb = nanobind;

namespace sod2py {
namespace {

struct PlanReference {
  sod2_plan *plan = nullptr;
  ~PlanReference() { sod2_plan_release(plan); }
};

[[noreturn]] void throw_status(const sod2_error &error) {
  raise_status(error);
  throw nb::python_error();
}

// The run at hand is the innermost of this thread: hooks are called by the thread that runs.
sod2_status host_hook(void *user, int64_t function, const sod2_host_array *reads, size_t n_reads,
                      const sod2_host_array *writes, size_t n_writes, sod2_error *) {
  Gil gil;
  if (!Run::current()->hold())
    return SOD2_HOST;
  PyObject *hosts = static_cast<Program *>(user)->hosts.ptr();
  return call_host(PyTuple_GET_ITEM(hosts, function), reads, n_reads, writes, n_writes);
}

int poll_hook(void *) { return Run::current()->poll(); }

} // namespace

std::string dtype_name(int64_t code) {
  return nb::cast<std::string>(nb::handle(jax.dtype_name)(code));
}

Program::Program(nb::bytes image, const std::vector<uintptr_t> &kernels, nb::list constants,
                 nb::object keep, nb::list host_functions, bool poison)
    : keepalive(std::move(keep)), hosts(nb::tuple(host_functions)),
      image_(image.size() / sizeof(int64_t)), constants_(constants) {
  need_setup();
  std::memcpy(image_.data(), image.c_str(), image_.size() * sizeof(int64_t)); // as words, aligned
  std::vector<sod2_kernel> functions;
  for (uintptr_t address : kernels)
    functions.push_back(reinterpret_cast<sod2_kernel>(address));
  std::vector<const void *> data;
  for (nb::handle constant : constants_)
    data.push_back(
        reinterpret_cast<const void *>(nb::cast<uintptr_t>(constant.attr("ctypes").attr("data"))));
  for (nb::handle host : hosts)
    if (!PyTuple_Check(host.ptr()) || PyTuple_GET_SIZE(host.ptr()) != 2 ||
        !PyUnicode_Check(PyTuple_GET_ITEM(host.ptr(), 0)))
      throw nb::type_error("hosts must be pairs of a name and a function");
  sod2_hooks hooks = {this, nullptr, nullptr, host_hook, poll_hook, poison};
  sod2_error error = {};
  if (sod2_program_create(image_.data(), image_.size(), functions.data(), functions.size(),
                          data.data(), data.size(), nb::len(hosts), &hooks, &handle_, &error))
    throw_status(error);
  for (int64_t i = 0; i < sod2_program_inputs(handle_); ++i)
    sod2_program_input(handle_, i, &inputs_.emplace_back());
  for (int64_t i = 0; i < sod2_program_outputs(handle_); ++i)
    sod2_program_output(handle_, i, &outputs_.emplace_back());
}

Program::~Program() { sod2_program_destroy(handle_); }

nb::list Program::describe(const std::vector<sod2_tensor_info> &infos) {
  nb::list rows;
  for (const sod2_tensor_info &info : infos)
    rows.append(nb::make_tuple(info.path ? info.path : "", dtype_name(info.dtype), info.rank));
  return rows;
}

nb::dict Program::bind(const std::vector<std::vector<int64_t>> &shapes) {
  nb::dict result;
  std::vector<int64_t> dims;
  bool ranks_fit = shapes.size() == inputs_.size();
  for (size_t i = 0; i < shapes.size(); ++i) {
    ranks_fit = ranks_fit && static_cast<int64_t>(shapes[i].size()) == inputs_[i].rank;
    dims.insert(dims.end(), shapes[i].begin(), shapes[i].end());
  }
  if (!ranks_fit)
    throw nb::value_error("bind wants one shape per input, of the input's rank");
  PlanReference reference;
  sod2_error error = {};
  sod2_status status =
      sod2_plan_acquire(handle_, dims.data(), dims.size(), &reference.plan, &error);
  nb::list failed;
  if (status) {
    if (status < SOD2_MISFIT)
      throw_status(error);
    const char *kind = status == SOD2_MISFIT     ? "version"
                       : status == SOD2_CONTRACT ? "contract"
                                                 : "check";
    failed.append(nb::make_tuple(kind, error.message));
  }
  result["ok"] = status == SOD2_OK;
  result["failed"] = failed;
  if (status)
    return result;
  const sod2_plan *plan = reference.plan;
  sod2_plan_info info;
  sod2_plan_describe(plan, &info);
  nb::dict symbols;
  for (int64_t i = 0; i < sod2_program_symbols(handle_); ++i)
    symbols[sod2_program_symbol(handle_, i)] = sod2_plan_symbol(plan, i);
  nb::list slots, steps, outputs;
  static const char *const kinds[] = {"input", "output", "arena", "constant", "cached"};
  for (int64_t i = 0; i < sod2_program_slots(handle_); ++i) {
    int64_t kind = 0, offset = 0, bytes = 0;
    sod2_plan_slot(handle_, plan, i, &kind, &offset, &bytes);
    slots.append(nb::make_tuple(kinds[kind], offset, bytes));
  }
  for (int64_t i = 0; i < sod2_program_steps(handle_); ++i) {
    int64_t extent = 0, work = 0;
    sod2_plan_step(handle_, plan, i, &extent, &work);
    steps.append(nb::make_tuple(extent, work));
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    nb::list shape;
    for (int64_t axis = 0; axis < outputs_[i].rank; ++axis)
      shape.append(sod2_plan_output_dims(plan, static_cast<int64_t>(i))[axis]);
    outputs.append(nb::tuple(shape));
  }
  result["symbols"] = symbols;
  result["arena"] = info.arena_bytes;
  result["outputs"] = info.output_bytes;
  result["cached"] = info.cached_bytes;
  result["scratch"] = info.scratch_bytes;
  result["output_shapes"] = outputs;
  result["slots"] = slots;
  result["steps"] = steps;
  return result;
}

nb::list Program::execute(nb::list arrays, uint64_t first_token, std::vector<int64_t> *step_ns) {
  if (nb::len(arrays) != inputs_.size())
    throw nb::value_error(
        ("the program has " + std::to_string(inputs_.size()) + " inputs").c_str());
  std::vector<nb::object> owned;
  std::vector<LeafValue> values(inputs_.size());
  std::vector<sod2_input> inputs;
  std::vector<int64_t> dims;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    LeafValue &value = values[i];
    Leaf leaf;
    nb::object array = arrays[i];
    value.object = array.ptr();
    Read read = read_leaf(&value, &leaf, jax.as_array, {true, false, true}, &owned);
    leaf.forget();
    if (read == Read::Error)
      throw nb::python_error();
    if (read == Read::Tracer)
      throw nb::type_error("a program runs on arrays, not on tracers");
    if (value.info->dtype != inputs_[i].dtype)
      throw nb::type_error((std::string(inputs_[i].path) + " must be " +
                            dtype_name(inputs_[i].dtype) + ", given " +
                            dtype_name(value.info->dtype))
                               .c_str());
    if (static_cast<int64_t>(value.info->dims.size()) != inputs_[i].rank)
      throw nb::type_error(
          (std::string(inputs_[i].path) + " must have rank " + std::to_string(inputs_[i].rank))
              .c_str());
    dims.insert(dims.end(), value.info->dims.begin(), value.info->dims.end());
    inputs.push_back({value.data, first_token ? first_token + i : 0});
  }
  PlanReference reference;
  sod2_error error = {};
  if (sod2_plan_acquire(handle_, dims.data(), dims.size(), &reference.plan, &error))
    throw_status(error);
  std::vector<void *> blocks;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    blocks.push_back(take_block(sod2_plan_output_bytes(reference.plan, static_cast<int64_t>(i))));
    if (!blocks.back()) {
      blocks.pop_back();
      std::for_each(blocks.begin(), blocks.end(), drop_block);
      throw nb::python_error();
    }
  }
  sod2_plan_info info;
  sod2_plan_describe(reference.plan, &info);
  if (step_ns)
    step_ns->resize(static_cast<size_t>(sod2_program_steps(handle_)));
  Run run(this, &values, nullptr, nullptr);
  sod2_status status = run.go(reference.plan, info.work, inputs.data(), blocks.data(),
                              step_ns ? step_ns->data() : nullptr, &error);
  if (status) {
    std::for_each(blocks.begin(), blocks.end(), drop_block);
    throw_status(error);
  }
  nb::list results;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    auto output = static_cast<int64_t>(i);
    OutputKind kind =
        make_output_kind(sod2_plan_output_dims(reference.plan, output), outputs_[i].rank,
                         outputs_[i].dtype, sod2_plan_output_bytes(reference.plan, output), false);
    nb::object array = nb::steal(array_of_block(blocks[i], &kind, false));
    if (!array.is_valid()) {
      std::for_each(blocks.begin() + static_cast<int64_t>(i) + 1, blocks.end(), drop_block);
      throw nb::python_error();
    }
    results.append(array);
  }
  return results;
}

nb::list Program::profile(nb::list arrays, int repeats) {
  // The inputs are the same at every repetition, so prepared buffers are filled in the first one
  // only. These tokens are far from those of the call path.
  static uint64_t next_token = uint64_t(1) << 63;
  const uint64_t first_token = next_token;
  next_token += inputs_.size();
  std::vector<int64_t> best;
  for (int i = 0; i < (repeats < 1 ? 1 : repeats); ++i) {
    std::vector<int64_t> times;
    execute(arrays, first_token, &times);
    if (best.empty())
      best = times;
    for (size_t step = 0; step < best.size(); ++step)
      best[step] = std::min(best[step], times[step]);
  }
  nb::list rows;
  for (size_t step = 0; step < best.size(); ++step)
    rows.append(
        nb::make_tuple(sod2_program_step_source(handle_, static_cast<int64_t>(step)), best[step]));
  return rows;
}

nb::dict Program::stats() const {
  sod2_program_stats stats;
  sod2_program_get_stats(handle_, &stats);
  nb::dict result;
  result["plans"] = stats.plans;
  result["contexts"] = stats.contexts;
  result["arena_bytes"] = stats.arena_bytes;
  result["cached_bytes"] = stats.cached_bytes;
  result["scratch_bytes"] = stats.scratch_bytes;
  result["image_bytes"] = image_.size() * sizeof(int64_t);
  return result;
}

} // namespace sod2py
