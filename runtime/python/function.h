#pragma once
#include "call.h"

namespace sod2py {

// What a Function object holds.
struct State {
  nanobind::object miss, inline_call, canonicalize;
  std::vector<int64_t> static_argnums;
  std::vector<nanobind::object> static_argnames;
  std::vector<std::shared_ptr<Signature>> signatures; // most recently used first
  std::vector<std::unique_ptr<Work>> idle;
};

// A call taken apart by JAX's registry: what the fast way could not recognise.
struct Flat {
  bool done = false;
  nanobind::object leaves, in_tree, statics;
  std::vector<char> positional_static, keyword_static;
};
bool flatten_call(const State &state, const Arguments &arguments, Flat *flat); // false: error set
bool same_statics(PyObject *a, PyObject *b);

PyObject *call_function(PyObject *self, State *state, const Arguments &arguments);
nanobind::object key_of(State *state, const Arguments &arguments);

void add_version(State *state, nanobind::object version);
void define_function(nanobind::module_ &m);

} // namespace sod2py
