// What a call does, once its version is known:
//  * outputs get blocks of the pool, or the memory of donated arguments; the program runs; blocks
//  become jax.Arrays;
//  * results are committed if an argument was, as with jax.jit;
//  * donated arguments are deleted, if jax.jit would have used them;
//  * results are put into the tree that the function returned.
#include "call.h"

#include "run.h"

#include <algorithm>

namespace nb = nanobind;

namespace sod2py {
namespace {

// JAX's errors for a buffer that this call donates and passes once more. `donated` are the leaves
// that are given up.
bool check_donation(const Version &version, const std::vector<int64_t> &donated, const Work &work) {
  auto gives_up = [&](int64_t leaf) {
    return std::find(donated.begin(), donated.end(), leaf) != donated.end();
  };
  auto array = [&](size_t i) { return work.values[static_cast<size_t>(version.read[i])].array; };
  for (size_t i = 1; i < version.read.size(); ++i)
    for (size_t first = 0; first < i; ++first) {
      bool before = gives_up(version.read[first]), now = gives_up(version.read[i]);
      if ((!before && !now) || !array(i) || array(i) != array(first))
        continue;
      PyErr_Format(jax.runtime_error,
                   "INVALID_ARGUMENT: Attempt to %s (flattened argument %zu, replica 0, partition "
                   "0, first use: %zu). Toy example for this bug: `f(%s)`.",
                   before && now ? "donate the same buffer twice in Execute()"
                   : now         ? "donate a buffer which is also used by the same call to Execute()"
                                 : "use a buffer that was previously donated in the same call to "
                                   "Execute()",
                   i, first,
                   before && now ? "donate(a), donate(a)"
                   : now         ? "a, donate(a)"
                                 : "donate(a), a");
      return false;
    }
  return true;
}

// Whether another argument reads the same memory, as two arrays over one buffer do.
bool read_twice(const Version &version, int64_t leaf, const Work &work) {
  return std::any_of(version.read.begin(), version.read.end(), [&](int64_t other) {
    return other != leaf && work.values[static_cast<size_t>(other)].data ==
                                work.values[static_cast<size_t>(leaf)].data;
  });
}

// The memory of a donated argument for an output: if it is a block of ours that nobody else holds,
// which is known once the array is deleted. Null, maybe with an error set: it is not.
void *take_over(const Version &version, const std::vector<int64_t> &donated, int64_t leaf,
                int64_t bytes, Work *work) {
  LeafValue &value = work->values[static_cast<size_t>(leaf)];
  if (!value.array || std::find(donated.begin(), donated.end(), leaf) == donated.end() ||
      read_twice(version, leaf, *work) || !pin_block(value.data))
    return nullptr;
  work->pinned.push_back(value.data); // so the run can read it in any case
  value.held.reset();                 // or it would look as if somebody else held it
  if (!delete_array(value.array))
    return nullptr;
  value.array = nullptr;
  if (!claim_block(value.data, bytes))
    return nullptr;
  work->pinned.pop_back();
  return const_cast<void *>(value.data);
}

PyObject *put_into_tree(Version *version, std::vector<PyObject *> *results) {
  if (version->out_plain)
    return build(version->out_node, results->data());
  nb::object leaves = nb::steal(PyList_New(static_cast<Py_ssize_t>(results->size())));
  if (!leaves.is_valid())
    return nullptr;
  for (size_t i = 0; i < results->size(); ++i) {
    PyList_SET_ITEM(leaves.ptr(), static_cast<Py_ssize_t>(i), (*results)[i]);
    (*results)[i] = nullptr;
  }
  return PyObject_CallMethodOneArg(version->out_tree.ptr(), names.unflatten, leaves.ptr());
}

} // namespace

Signature::~Signature() {
  for (Leaf &leaf : leaves)
    leaf.forget();
}

void Signature::update_needs() {
  std::fill(needed.begin(), needed.end(), 0);
  std::fill(prepared.begin(), prepared.end(), 0);
  for (const nb::object &object : versions) {
    auto *version = nb::inst_ptr<Version>(object);
    for (int64_t leaf : version->read)
      needed[static_cast<size_t>(leaf)] = 1;
    for (size_t i = 0; i < version->kept.size(); ++i) {
      auto leaf = static_cast<size_t>(version->kept[i]);
      prepared[leaf] |=
          sod2_program_prepares(version->program->handle(), static_cast<int64_t>(i)) != 0;
    }
  }
}

bool learn_signature(const Arguments &arguments, const std::vector<char> &positional_static,
                     const std::vector<char> &keyword_static, Signature *signature) {
  std::vector<Signature::Argument> positional, keyword;
  std::vector<nb::object> keyword_names, dynamic_names;
  std::vector<PyObject *> dynamic_values;
  int64_t leaves = 0;
  for (Py_ssize_t i = 0; i < arguments.positional; ++i) {
    Signature::Argument &a = positional.emplace_back();
    a.is_static = positional_static[static_cast<size_t>(i)];
    if (a.is_static) {
      a.value = nb::borrow(arguments.values[i]);
    } else {
      if (!learn(arguments.values[i], leaves, &a.node))
        return false;
      leaves += a.node.leaves;
    }
  }
  for (Py_ssize_t i = 0; i < arguments.keywords(); ++i) {
    Signature::Argument &a = keyword.emplace_back();
    keyword_names.push_back(nb::borrow(PyTuple_GET_ITEM(arguments.keyword_names, i)));
    PyObject *value = arguments.values[arguments.positional + i];
    a.is_static = keyword_static[static_cast<size_t>(i)];
    if (a.is_static) {
      a.value = nb::borrow(value);
    } else {
      dynamic_names.push_back(keyword_names.back());
      dynamic_values.push_back(value);
    }
  }
  Node node; // keyword arguments are numbered as the items of a dict
  if (!learn_dict(dynamic_names, dynamic_values, leaves, &node))
    return false;
  leaves += node.leaves;
  size_t next = 0;
  for (Signature::Argument &a : keyword)
    if (!a.is_static)
      a.node = std::move(node.children[next++]);
  signature->positional = std::move(positional);
  signature->keyword = std::move(keyword);
  signature->keyword_names = std::move(keyword_names);
  signature->learnt = true;
  auto count = static_cast<size_t>(leaves);
  if (signature->leaves.size() != count) {
    signature->leaves.resize(count);
    signature->needed.assign(count, 0);
    signature->prepared.assign(count, 0);
  }
  return true;
}

Match match_signature(const Signature &signature, const Arguments &arguments, PyObject **leaves,
                      std::vector<nb::object> *owned) {
  if (arguments.positional != static_cast<Py_ssize_t>(signature.positional.size()) ||
      arguments.keywords() != static_cast<Py_ssize_t>(signature.keyword.size()))
    return Match::No;
  auto one = [&](const Signature::Argument &a, PyObject *value) {
    if (a.is_static)
      return same_key(a.value.ptr(), value) ? Match::Yes : Match::No;
    return match(a.node, value, leaves, owned);
  };
  PyObject *const *value = arguments.values;
  for (const Signature::Argument &a : signature.positional)
    if (Match m = one(a, *value++); m != Match::Yes)
      return m;
  for (size_t i = 0; i < signature.keyword.size(); ++i) {
    PyObject *name = PyTuple_GET_ITEM(arguments.keyword_names, static_cast<Py_ssize_t>(i));
    if (!same_key(name, signature.keyword_names[i].ptr()))
      return Match::No;
    if (Match m = one(signature.keyword[i], *value++); m != Match::Yes)
      return m;
  }
  return Match::Yes;
}

void Work::hold() {
  for (PyObject *leaf : leaves)
    Py_INCREF(leaf);
  holds = true;
}

void Work::reset() {
  for (void *block : blocks)
    if (block)
      drop_block(block);
  blocks.clear();
  for (const void *data : pinned)
    unpin_block(data);
  pinned.clear();
  // Taken out first: dropping a reference may run code that calls the function again.
  for (PyObject *&result : results)
    Py_CLEAR(result);
  results.clear();
  for (LeafValue &value : values)
    value.held.reset();
  owned.clear();
  if (holds) {
    holds = false;
    for (PyObject *&leaf : leaves)
      Py_CLEAR(leaf);
  }
  leaves.clear();
}

Read read_leaves(Signature *signature, PyObject *canonicalize, Work *work, size_t *at) {
  size_t count = work->leaves.size();
  work->values.resize(count);
  for (size_t i = 0; i < count; ++i) {
    LeafValue &value = work->values[i];
    value = {};
    value.object = work->leaves[i];
    Read read =
        read_leaf(&value, &signature->leaves[i], canonicalize,
                  {signature->needed[i] != 0, signature->prepared[i] != 0, true}, &work->owned);
    if (read != Read::Ok) {
      *at = i;
      return read;
    }
  }
  return Read::Ok;
}

PyObject *run_version(Version *version, const std::shared_ptr<Version::Sizes> &sizes, Work *work) {
  static const std::vector<int64_t> nothing;
  const std::vector<int64_t> &donated = work->keeps_donated ? nothing : sizes->donated;
  if (!donated.empty() && !check_donation(*version, donated, *work))
    return nullptr;
  bool committed = false;
  work->inputs.clear();
  for (int64_t leaf : version->kept) {
    const LeafValue &value = work->values[static_cast<size_t>(leaf)];
    work->inputs.push_back({value.data, value.token});
    committed |= value.committed;
  }
  size_t outputs = version->program->output_infos().size();
  for (size_t i = 0; i < outputs; ++i) {
    int64_t donor = version->program->output_infos()[i].donor, bytes = sizes->outputs[i].bytes;
    void *block = nullptr;
    if (donor >= 0)
      block = take_over(*version, donated, version->kept[static_cast<size_t>(donor)], bytes, work);
    if (!block && (PyErr_Occurred() || !(block = take_block(bytes))))
      return nullptr;
    work->blocks.push_back(block);
  }
  sod2_error error;
  Run run(version->program, &work->values, &version->read, &donated);
  if (run.go(sizes->plan, sizes->info.work, work->inputs.data(), work->blocks.data(), nullptr,
             &error)) {
    raise_status(error);
    return nullptr;
  }
  for (size_t i = 0; i < outputs; ++i) {
    void *block = work->blocks[i];
    work->blocks[i] = nullptr;
    PyObject *result = array_of_block(block, &sizes->outputs[i], committed);
    if (!result)
      return nullptr;
    work->results.push_back(result);
  }
  ++version->hits;
  return put_into_tree(version, &work->results);
}

} // namespace sod2py
