// How a version decides that it fits, cheapest question first:
//  * all leaves have the avals of the last call: so it fits, and the sizes are the same;
//  * dtypes, ranks and weak types; then the sizes, looked up among those seen before;
//  * new sizes: the runtime makes a plan, or says which guard is broken.
#include "version.h"

#include <algorithm>
#include <functional>
#include <nanobind/stl/string.h>
#include <numeric>

namespace nb = nanobind;

namespace sod2py {
namespace {

constexpr size_t kMostSizes = 64; // as many plans as the runtime keeps

uint64_t hash_dims(const std::vector<int64_t> &dims) {
  uint64_t h = 0x9e3779b97f4a7c15u;
  for (int64_t dim : dims) {
    h = (h ^ static_cast<uint64_t>(dim)) * 0xff51afd7ed558ccdu;
    h ^= h >> 32;
  }
  return h;
}

} // namespace

Key::Key(nb::object tree, nb::object static_values, nb::list types, std::vector<int64_t> all_ranks,
         nb::object weak, nb::object configuration)
    : in_tree(std::move(tree)), statics(nb::tuple(static_values)),
      context(std::move(configuration)), leaves(nb::none()), ranks(std::move(all_ranks)) {
  need_setup();
  for (nb::handle dtype : types) {
    dtypes.push_back(nb::borrow(dtype));
    codes.push_back(nb::cast<int64_t>(nb::handle(jax.dtype_code)(dtype)));
  }
  weak_given = !weak.is_none();
  if (weak_given)
    for (nb::handle flag : weak)
      weak_types.push_back(nb::cast<bool>(flag));
  if (codes.size() != ranks.size() || (weak_given && weak_types.size() != ranks.size()))
    throw nb::value_error("a Key wants one dtype, rank and weak type per leaf");
}

Version::Version(nb::object a_program, const Key &a_key, std::vector<int64_t> a_kept,
                 nb::object a_tree, std::vector<bool> weak, std::vector<int64_t> a_donated,
                 std::vector<std::string> a_paths, nb::object a_tag,
                 std::optional<std::vector<int64_t>> a_read)
    : program(nb::cast<Program *>(a_program)), key(a_key), kept(std::move(a_kept)),
      read(a_read ? std::move(*a_read) : kept), donated(std::move(a_donated)), out_weak_types(std::move(weak)),
      program_object(std::move(a_program)), out_tree(std::move(a_tree)), tag(std::move(a_tag)),
      paths(std::move(a_paths)) {
  key.leaves = nb::none(); // the arrays of the call that made it are the caller's
  auto leaves = static_cast<int64_t>(key.ranks.size());
  auto wrong = [leaves](int64_t leaf) { return leaf < 0 || leaf >= leaves; };
  if (kept.size() != program->input_infos().size() || std::any_of(kept.begin(), kept.end(), wrong))
    throw nb::value_error("kept must name one leaf per input of the program");
  for (int64_t leaf : read)
    if (std::find(kept.begin(), kept.end(), leaf) == kept.end())
      throw nb::value_error("read must name leaves that are kept");
  if (std::any_of(donated.begin(), donated.end(), wrong))
    throw nb::value_error("donated must name leaves");
  for (size_t i = 0; i < kept.size(); ++i) {
    const sod2_tensor_info &input = program->input_infos()[i];
    auto leaf = static_cast<size_t>(kept[i]);
    if (input.rank != key.ranks[leaf] || input.dtype != key.codes[leaf])
      throw nb::value_error(("input " + std::to_string(i) + " of the program and leaf " +
                             std::to_string(leaf) + " of the key differ in rank or dtype")
                                .c_str());
  }
  size_t outputs = program->output_infos().size();
  if (out_weak_types.size() != outputs)
    throw nb::value_error("out_weak_types must have one flag per output of the program");
  // The tree of the results, learnt by building it once from leaves that are nothing else.
  nb::list examples;
  for (size_t i = 0; i < outputs; ++i)
    examples.append(nb::float_(0.0));
  nb::object example = out_tree.attr("unflatten")(examples);
  if (!learn(example.ptr(), 0, &out_node))
    throw nb::python_error();
  if (out_node.leaves != static_cast<int64_t>(outputs))
    throw nb::value_error("out_tree has another number of leaves than the program has outputs");
  out_plain = is_plain(out_node);
}

Version::~Version() = default;

std::string Version::name_of(size_t leaf) const {
  return leaf < paths.size() ? paths[leaf] : "argument leaf " + std::to_string(leaf);
}

bool Version::same_context(PyObject *given) const {
  PyObject *mine = key.context.ptr();
  if (mine == given || mine == Py_None)
    return true;
  if (!PyTuple_CheckExact(mine) || !PyTuple_CheckExact(given) ||
      PyTuple_GET_SIZE(mine) != PyTuple_GET_SIZE(given))
    return same_key(mine, given);
  // Flags and interned names are the same objects nearly always: comparing by identity first saves
  // a call per item.
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mine); ++i)
    if (!same_key(PyTuple_GET_ITEM(mine, i), PyTuple_GET_ITEM(given, i)))
      return false;
  return true;
}

bool Version::leaves_fit(const std::vector<LeafValue> &leaves, std::string *reason) const {
  for (size_t i = 0; i < leaves.size(); ++i) {
    const AvalInfo &info = *leaves[i].info;
    auto rank = static_cast<int64_t>(info.dims.size());
    if (info.dtype != key.codes[i]) {
      *reason = name_of(i) + " is " + dtype_name(info.dtype) + ", compiled for " +
                dtype_name(key.codes[i]);
      return false;
    }
    if (rank != key.ranks[i]) {
      *reason = name_of(i) + " has rank " + std::to_string(rank) + ", compiled for rank " +
                std::to_string(key.ranks[i]);
      return false;
    }
    if (key.weak_given && info.weak_type != key.weak_types[i]) {
      *reason =
          name_of(i) + (info.weak_type
                            ? " is weakly typed (a Python scalar), compiled for strongly typed"
                            : " is strongly typed, compiled for weakly typed (a Python scalar)");
      return false;
    }
  }
  return true;
}

// As jax.jit does it: each output takes the first donated argument of its shape and dtype. Each argument
// that is left and finds another output of as many elements is offered to XLA, which gives it to the
// first output that is left of as many bytes. What finds none stays the caller's.
std::vector<int64_t> Version::used_donations(const std::vector<LeafValue> &leaves,
                                             const std::vector<OutputKind> &outputs) const {
  auto elements = [](const std::vector<int64_t> &dims) {
    return std::accumulate(dims.begin(), dims.end(), int64_t(1), std::multiplies<int64_t>());
  };
  std::vector<int64_t> offered, used;
  std::vector<const OutputKind *> left;
  for (int64_t leaf : read)
    if (std::find(donated.begin(), donated.end(), leaf) != donated.end())
      offered.push_back(leaf);
  for (const OutputKind &output : outputs) {
    auto taken = std::find_if(offered.begin(), offered.end(), [&](int64_t leaf) {
      const AvalInfo &info = *leaves[static_cast<size_t>(leaf)].info;
      return info.dtype == output.dtype && info.dims == output.dims;
    });
    if (taken == offered.end()) {
      left.push_back(&output);
      continue;
    }
    used.push_back(*taken);
    offered.erase(taken);
  }
  std::vector<int64_t> donors;
  std::vector<const OutputKind *> unpaired = left;
  for (int64_t leaf : offered) {
    const std::vector<int64_t> &dims = leaves[static_cast<size_t>(leaf)].info->dims;
    auto found = std::find_if(unpaired.begin(), unpaired.end(), [&](const OutputKind *output) {
      return elements(output->dims) == elements(dims);
    });
    if (found == unpaired.end())
      continue;
    donors.push_back(leaf);
    unpaired.erase(found);
  }
  auto bits = [&](int64_t dtype, const std::vector<int64_t> &dims) { return (dtype & 0xff) * elements(dims); };
  for (int64_t leaf : donors) {
    const AvalInfo &info = *leaves[static_cast<size_t>(leaf)].info;
    auto found = std::find_if(left.begin(), left.end(), [&](const OutputKind *output) {
      return bits(output->dtype, output->dims) == bits(info.dtype, info.dims);
    });
    if (found == left.end())
      continue;
    used.push_back(leaf);
    left.erase(found);
  }
  return used;
}

Version::Fit Version::fit(const std::vector<LeafValue> &leaves, PyObject *context,
                          std::shared_ptr<Sizes> *sizes, std::string *reason) {
  if (!same_context(context)) {
    *reason = "JAX's configuration (x64, matmul precision, ...) differs from the one that it was "
              "compiled under";
    return Fit::No;
  }
  bool same = static_cast<bool>(last_sizes_);
  for (size_t i = 0; same && i < leaves.size(); ++i)
    same = last_infos_[i] == leaves[i].info;
  if (same) {
    *sizes = last_sizes_;
    return Fit::Yes;
  }
  if (!leaves_fit(leaves, reason))
    return Fit::No;
  std::vector<int64_t> dims;
  for (int64_t leaf : kept) {
    const AvalInfo &info = *leaves[static_cast<size_t>(leaf)].info;
    dims.insert(dims.end(), info.dims.begin(), info.dims.end());
  }
  uint64_t hash = hash_dims(dims);
  std::shared_ptr<Sizes> found;
  for (const std::shared_ptr<Sizes> &candidate : all_sizes_)
    if (candidate->hash == hash && candidate->dims == dims) {
      found = candidate;
      break;
    }
  if (!found) {
    found = std::make_shared<Sizes>();
    sod2_error error = {};
    sod2_status status =
        sod2_plan_acquire(program->handle(), dims.data(), dims.size(), &found->plan, &error);
    if (status == SOD2_MISFIT || status == SOD2_CONTRACT) {
      *reason = error.message;
      return status == SOD2_MISFIT ? Fit::No : Fit::Contract;
    }
    if (status) {
      raise_status(error);
      return Fit::Error;
    }
    sod2_plan_describe(found->plan, &found->info);
    found->hash = hash;
    found->dims = std::move(dims);
    for (size_t i = 0; i < out_weak_types.size(); ++i) {
      const sod2_tensor_info &info = program->output_infos()[i];
      auto output = static_cast<int64_t>(i);
      found->outputs.push_back(
          make_output_kind(sod2_plan_output_dims(found->plan, output), info.rank, info.dtype,
                           sod2_plan_output_bytes(found->plan, output), out_weak_types[i]));
    }
    found->donated = used_donations(leaves, found->outputs);
    if (all_sizes_.size() < kMostSizes)
      all_sizes_.push_back(found);
    else
      *std::min_element(all_sizes_.begin(), all_sizes_.end(),
                        [](auto &a, auto &b) { return a->last_used < b->last_used; }) = found;
  }
  found->last_used = ++clock_;
  // All at once: what an aval's last owner drops may run code that comes back here.
  std::vector<Aval> infos;
  infos.reserve(leaves.size());
  for (const LeafValue &leaf : leaves)
    infos.push_back(leaf.info);
  last_sizes_ = found;
  last_infos_.swap(infos);
  *sizes = std::move(found);
  return Fit::Yes;
}

} // namespace sod2py
