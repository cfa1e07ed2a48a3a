// The way of a call:
//  * under jax.disable_jit or inside of a JAX transformation: the `inline` callback;
//  * the signature whose template matches the arguments, else the one of the same pytree and static
//  arguments;
//  * its leaves are read; a Tracer among them: the `inline` callback;
//  * the first of its versions that fits runs;
//  * none fits: `miss` compiles one and the call is tried once more; if the cache was cleared
//  meanwhile, with what `miss` gave alone;
//  * under jax.debug_nans or debug_infs, JAX checks the result, and nothing is donated.
#include "function.h"

#include <algorithm>
#include <nanobind/stl/string.h>

namespace nb = nanobind;

namespace sod2py {
namespace {

// One attempt at a call, and why it found nothing.
struct Attempt {
  State *state;
  const Arguments &arguments;
  Flat flat;
  nb::object context;
  std::vector<std::string> reasons;
  std::string broken_contract;
  PyObject *answer = nullptr; // if `answered`: the result, or null with the error set
  bool answered = false;
  bool keeps_donated = false; // what checks the result may want the arguments once more

  void give(PyObject *result) {
    answer = result;
    answered = true;
  }
};

nb::object positional_of(const Arguments &a) {
  nb::object tuple = nb::steal(PyTuple_New(a.positional));
  for (Py_ssize_t i = 0; tuple.is_valid() && i < a.positional; ++i)
    PyTuple_SET_ITEM(tuple.ptr(), i, Py_NewRef(a.values[i]));
  return tuple;
}

nb::object keywords_of(const Arguments &a) {
  nb::object dict = nb::steal(PyDict_New());
  for (Py_ssize_t i = 0; dict.is_valid() && i < a.keywords(); ++i)
    if (PyDict_SetItem(dict.ptr(), PyTuple_GET_ITEM(a.keyword_names, i),
                       a.values[a.positional + i]))
      return {};
  return dict;
}

PyObject *call_inline(State *state, const Arguments &arguments) {
  nb::object positional = positional_of(arguments), keywords = keywords_of(arguments);
  if (!positional.is_valid() || !keywords.is_valid())
    return nullptr;
  return PyObject_CallFunctionObjArgs(state->inline_call.ptr(), positional.ptr(), keywords.ptr(),
                                      nullptr);
}

// 1: JAX wants the function itself, not what was compiled of it; 0: not; -1: error. Gets the context
// of the call.
int must_inline(nb::object *context) {
  PyObject *trace = PyObject_GetAttr(jax.trace_state, names.value);
  if (!trace)
    return -1;
  Py_DECREF(trace); // a running trace is kept alive by its owner
  if (trace != jax.top_trace)
    return 1;
  *context = nb::steal(PyObject_CallNoArgs(jax.trace_context));
  if (!context->is_valid())
    return -1;
  if (!PyTuple_Check(context->ptr()) || PyTuple_GET_SIZE(context->ptr()) <= jax.disable_jit) {
    PyErr_SetString(PyExc_TypeError, "JAX's trace context is not what it was at import");
    return -1;
  }
  return PyTuple_GET_ITEM(context->ptr(), jax.disable_jit) == Py_True;
}

// Whether a flag of JAX is on; -1: error.
int is_on(PyObject *flag) {
  PyObject *value = PyObject_GetAttr(flag, names.value);
  if (!value)
    return -1;
  Py_DECREF(value);
  return value == Py_True;
}

// Calls `miss`; its answer, if it gives one, ends the call. `version`: the Version for the call, or
// None.
bool call_miss(Attempt *attempt, nb::object key, nb::object *version) {
  nb::object positional = positional_of(attempt->arguments),
             keywords = keywords_of(attempt->arguments);
  if (!positional.is_valid() || !keywords.is_valid()) {
    attempt->give(nullptr);
    return false;
  }
  nb::list reasons;
  for (const std::string &reason : attempt->reasons)
    reasons.append(nb::str(reason.data(), reason.size()));
  nb::object result =
      nb::steal(PyObject_CallFunctionObjArgs(attempt->state->miss.ptr(), positional.ptr(),
                                             keywords.ptr(), reasons.ptr(), key.ptr(), nullptr));
  if (!result.is_valid())
    attempt->give(nullptr);
  else if (PyTuple_CheckExact(result.ptr()) && PyTuple_GET_SIZE(result.ptr()) == 1)
    attempt->give(Py_NewRef(PyTuple_GET_ITEM(result.ptr(), 0)));
  else
    *version = std::move(result);
  return !attempt->answered;
}

// A leaf is no array: Python knows its path and JAX's words, so `miss` may raise something better
// than the error at hand.
void refuse_leaf(Attempt *attempt) {
  if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_OverflowError)) {
    attempt->give(nullptr);
    return;
  }
  nb::python_error at_hand;
  attempt->reasons.push_back(nb::cast<std::string>(nb::str(at_hand.value())));
  nb::object none;
  if (call_miss(attempt, nb::none(), &none)) {
    at_hand.restore();
    attempt->give(nullptr);
  }
}

struct Lease { // a Work for one call
  explicit Lease(State *owner) : state(owner) {
    if (state->idle.empty()) {
      work = std::make_unique<Work>();
    } else {
      work = std::move(state->idle.back());
      state->idle.pop_back();
    }
  }
  ~Lease() {
    work->reset();
    state->idle.push_back(std::move(work));
  }
  State *state;
  std::unique_ptr<Work> work;
};

// The signature of the call, with the leaves in `work`; null if there is none, or if the attempt is
// answered.
std::shared_ptr<Signature> find_signature(Attempt *attempt, Work *work) {
  State *state = attempt->state;
  for (size_t i = 0; i < state->signatures.size(); ++i) {
    std::shared_ptr<Signature> candidate = state->signatures[i];
    work->leaves.assign(candidate->leaves.size(), nullptr);
    Match m = candidate->learnt ? match_signature(*candidate, attempt->arguments,
                                                  work->leaves.data(), &work->owned)
                                : Match::No;
    if (m == Match::Error) {
      attempt->give(nullptr);
      return nullptr;
    }
    if (m == Match::Yes) {
      if (i > 0 && i < state->signatures.size() && state->signatures[i] == candidate)
        std::rotate(state->signatures.begin(), state->signatures.begin() + static_cast<int64_t>(i),
                    state->signatures.begin() + static_cast<int64_t>(i) + 1);
      return candidate;
    }
  }
  if (!attempt->flat.done && !flatten_call(*state, attempt->arguments, &attempt->flat)) {
    if (!attempt->answered)
      refuse_leaf(attempt); // an unhashable static argument, dict keys that do not sort: miss knows
                            // JAX's words
    return nullptr;
  }
  const Flat &flat = attempt->flat;
  for (const std::shared_ptr<Signature> &candidate : state->signatures)
    if (same_statics(candidate->statics.ptr(), flat.statics.ptr()) &&
        same_key(candidate->in_tree.ptr(), flat.in_tree.ptr())) {
      std::shared_ptr<Signature> found = candidate;
      if (!learn_signature(attempt->arguments, flat.positional_static, flat.keyword_static,
                           found.get())) {
        attempt->give(nullptr);
        return nullptr;
      }
      work->leaves.clear();
      for (nb::handle leaf : nb::borrow<nb::list>(flat.leaves))
        work->leaves.push_back(leaf.ptr());
      return work->leaves.size() == found->leaves.size() ? found : nullptr;
    }
  work->leaves.clear();
  return nullptr;
}

bool get_context(Attempt *attempt) {
  if (!attempt->context.is_valid())
    attempt->context = nb::steal(PyObject_CallNoArgs(jax.trace_context));
  if (!attempt->context.is_valid())
    attempt->give(nullptr);
  return attempt->context.is_valid();
}

void try_versions(Attempt *attempt, Signature *signature, Work *work) {
  size_t at = 0;
  Read read = read_leaves(signature, attempt->state->canonicalize.ptr(), work, &at);
  if (read == Read::Tracer) {
    attempt->give(call_inline(attempt->state, attempt->arguments));
    return;
  }
  if (read == Read::Error) {
    refuse_leaf(attempt);
    return;
  }
  if (!get_context(attempt))
    return;
  for (size_t i = 0; i < signature->versions.size(); ++i) {
    nb::object object = signature->versions[i]; // held: the call may clear the function
    auto *version = nb::inst_ptr<Version>(object);
    std::shared_ptr<Version::Sizes> sizes;
    std::string reason;
    Version::Fit fit = version->fit(work->values, attempt->context.ptr(), &sizes, &reason);
    if (fit == Version::Fit::Yes) {
      if (i > 0)
        std::rotate(signature->versions.begin(),
                    signature->versions.begin() + static_cast<int64_t>(i),
                    signature->versions.begin() + static_cast<int64_t>(i) + 1);
      attempt->give(run_version(version, sizes, work));
      return;
    }
    if (fit == Version::Fit::Error) {
      attempt->give(nullptr);
      return;
    }
    if (fit == Version::Fit::Contract)
      attempt->broken_contract = reason;
    attempt->reasons.push_back(std::move(reason));
  }
}

void explain_structure(Attempt *attempt) {
  for (const std::shared_ptr<Signature> &other : attempt->state->signatures) {
    if (same_key(other->in_tree.ptr(), attempt->flat.in_tree.ptr())) {
      if (same_statics(other->statics.ptr(), attempt->flat.statics.ptr()))
        continue; // its versions gave their reasons
      nb::str given(attempt->flat.statics), compiled(other->statics);
      attempt->reasons.push_back("static arguments " + std::string(given.c_str()) +
                                 ", compiled for " + compiled.c_str());
    } else {
      attempt->reasons.push_back("the arguments are another pytree than those it was compiled for");
    }
  }
}

// The key of the call, with its arrays; invalid if the attempt is answered.
nb::object make_key(Attempt *attempt) {
  if (!attempt->flat.done && !flatten_call(*attempt->state, attempt->arguments, &attempt->flat)) {
    refuse_leaf(attempt);
    return {};
  }
  if (!get_context(attempt))
    return {};
  Key key;
  key.in_tree = attempt->flat.in_tree;
  key.statics = attempt->flat.statics;
  key.context = attempt->context;
  key.weak_given = true;
  nb::list arrays;
  for (nb::handle object : nb::borrow<nb::list>(attempt->flat.leaves)) {
    LeafValue value;
    Leaf leaf;
    std::vector<nb::object> owned;
    value.object = object.ptr();
    Read read =
        read_leaf(&value, &leaf, attempt->state->canonicalize.ptr(), {false, false, false}, &owned);
    leaf.forget();
    if (read == Read::Tracer)
      attempt->give(call_inline(attempt->state, attempt->arguments));
    else if (read == Read::Error)
      refuse_leaf(attempt);
    if (read != Read::Ok)
      return {};
    arrays.append(nb::handle(value.array));
    key.dtypes.push_back(value.info->aval.attr("dtype"));
    key.codes.push_back(value.info->dtype);
    key.ranks.push_back(static_cast<int64_t>(value.info->dims.size()));
    key.weak_types.push_back(value.info->weak_type);
  }
  key.leaves = arrays;
  return nb::cast(std::move(key));
}

void attempt_call(Attempt *attempt) {
  Lease lease(attempt->state);
  lease.work->keeps_donated = attempt->keeps_donated;
  if (std::shared_ptr<Signature> signature = find_signature(attempt, lease.work.get())) {
    lease.work->hold();
    try_versions(attempt, signature.get(), lease.work.get());
  }
}

} // namespace

bool same_statics(PyObject *a, PyObject *b) {
  if (a == b)
    return true;
  if (PyTuple_GET_SIZE(a) != PyTuple_GET_SIZE(b))
    return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(a); ++i) {
    PyObject *x = PyTuple_GET_ITEM(a, i), *y = PyTuple_GET_ITEM(b, i);
    for (Py_ssize_t part = 0; part < 2; ++part)
      if (!same_key(PyTuple_GET_ITEM(x, part), PyTuple_GET_ITEM(y, part)))
        return false;
  }
  return true;
}

bool flatten_call(const State &state, const Arguments &arguments, Flat *flat) {
  nb::list dynamic;
  nb::dict keywords;
  std::vector<std::pair<std::string, nb::object>>
      statics; // keywords sorted: their order in a call does not matter
  flat->positional_static.assign(static_cast<size_t>(arguments.positional), 0);
  flat->keyword_static.assign(static_cast<size_t>(arguments.keywords()), 0);
  for (int64_t number : state.static_argnums) {
    int64_t at = number < 0 ? number + arguments.positional : number;
    if (at >= 0 && at < arguments.positional)
      flat->positional_static[static_cast<size_t>(at)] = 1;
  }
  auto add_static = [&](nb::object name, PyObject *value) {
    if (PyObject_Hash(value) == -1)
      return false;
    bool keyword = nb::isinstance<nb::str>(name);
    statics.emplace_back(keyword ? nb::cast<std::string>(name) : "",
                         nb::make_tuple(name, nb::borrow(value)));
    return true;
  };
  for (Py_ssize_t i = 0; i < arguments.positional; ++i) {
    if (!flat->positional_static[static_cast<size_t>(i)])
      dynamic.append(nb::handle(arguments.values[i]));
    else if (!add_static(nb::int_(i), arguments.values[i]))
      return false;
  }
  for (Py_ssize_t i = 0; i < arguments.keywords(); ++i) {
    nb::object name = nb::borrow(PyTuple_GET_ITEM(arguments.keyword_names, i));
    PyObject *value = arguments.values[arguments.positional + i];
    bool is_static =
        std::any_of(state.static_argnames.begin(), state.static_argnames.end(),
                    [&](const nb::object &s) { return same_key(s.ptr(), name.ptr()); });
    flat->keyword_static[static_cast<size_t>(i)] = is_static;
    if (!is_static)
      keywords[name] = nb::borrow(value);
    else if (!add_static(name, value))
      return false;
  }
  std::stable_sort(statics.begin(), statics.end(),
                   [](auto &a, auto &b) { return a.first < b.first; });
  nb::list all;
  for (const auto &entry : statics)
    all.append(entry.second);
  flat->statics = nb::tuple(all);
  nb::object tree = nb::make_tuple(nb::tuple(dynamic), keywords);
  flat->done = flatten(tree.ptr(), &flat->leaves, &flat->in_tree);
  return flat->done;
}

void add_version(State *state, nb::object object) {
  auto *version = nb::inst_ptr<Version>(object);
  std::shared_ptr<Signature> signature;
  for (const std::shared_ptr<Signature> &candidate : state->signatures)
    if (same_statics(candidate->statics.ptr(), version->key.statics.ptr()) &&
        same_key(candidate->in_tree.ptr(), version->key.in_tree.ptr()))
      signature = candidate;
  if (!signature) {
    signature = std::make_shared<Signature>();
    signature->in_tree = version->key.in_tree;
    signature->statics = version->key.statics;
    size_t leaves = version->key.ranks.size();
    signature->leaves.resize(leaves);
    signature->needed.resize(leaves);
    signature->prepared.resize(leaves);
    state->signatures.insert(state->signatures.begin(), signature);
  }
  signature->versions.insert(signature->versions.begin(), object);
  signature->update_needs();
}

PyObject *dispatch(State *state, const Arguments &arguments, const nb::object &context,
                   bool keeps_donated) {
  Attempt first{state, arguments, {}, context, {}, {}};
  first.keeps_donated = keeps_donated;
  attempt_call(&first);
  if (first.answered)
    return first.answer;
  nb::object key = make_key(&first);
  if (first.answered)
    return first.answer;
  explain_structure(&first);
  nb::object version;
  if (!call_miss(&first, key, &version))
    return first.answer;
  Attempt second{state, arguments, {}, context, {}, {}};
  second.keeps_donated = keeps_donated;
  attempt_call(&second);
  if (!second.answered && nb::isinstance<Version>(version)) {
    State alone;
    alone.inline_call = state->inline_call;
    alone.canonicalize = state->canonicalize;
    alone.miss = nb::none();
    alone.static_argnums = state->static_argnums;
    alone.static_argnames = state->static_argnames;
    add_version(&alone, version);
    second.state = &alone;
    attempt_call(&second);
  }
  if (second.answered)
    return second.answer;
  if (!second.broken_contract.empty()) {
    PyErr_SetString(jax.shape_error, second.broken_contract.c_str());
    return nullptr;
  }
  std::string reasons;
  for (const std::string &reason : second.reasons)
    reasons += "; " + reason;
  PyErr_Format(PyExc_RuntimeError, "no version fits the call that was just compiled for%s",
               reasons.c_str());
  return nullptr;
}

PyObject *call_function(PyObject *self, State *state, const Arguments &arguments) {
  nb::object context;
  int inlined = must_inline(&context);
  if (inlined)
    return inlined < 0 ? nullptr : call_inline(state, arguments);
  int nans = is_on(jax.debug_nans), infs = is_on(jax.debug_infs);
  if (nans < 0 || infs < 0)
    return nullptr;
  bool checked = nans || infs;
  nb::object result = nb::steal(dispatch(state, arguments, context, checked));
  if (!checked || !result.is_valid())
    return result.release().ptr();
  nb::object positional = positional_of(arguments), keywords = keywords_of(arguments);
  if (!positional.is_valid() || !keywords.is_valid())
    return nullptr;
  nb::object none = nb::steal(PyObject_CallFunctionObjArgs(
      jax.check_result, self, positional.ptr(), keywords.ptr(), result.ptr(), nullptr));
  return none.is_valid() ? result.release().ptr() : nullptr;
}

nb::object key_of(State *state, const Arguments &arguments) {
  Attempt attempt{state, arguments, {}, {}, {}, {}};
  nb::object key = make_key(&attempt);
  if (!attempt.answered)
    return key;
  if (!attempt.answer)
    throw nb::python_error();
  Py_DECREF(attempt.answer);
  throw nb::type_error("a call with tracers has no key");
}

} // namespace sod2py
