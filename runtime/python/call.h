#pragma once
#include "version.h"

namespace sod2py {

// All calls of one structure: the same pytree and the same static arguments. Its versions differ in
// dtypes, ranks and sizes.
struct Signature {
  struct Argument {
    bool is_static = false;
    nanobind::object value; // of a static one
    Node node;
  };

  nanobind::object in_tree, statics;
  bool learnt = false; // whether the following, taken from an example call, is there
  std::vector<Argument> positional, keyword;
  std::vector<nanobind::object> keyword_names; // in the order of the call that it was learnt from
  std::vector<Leaf> leaves;
  std::vector<char> needed,
      prepared; // of each leaf: some version reads it, or prepares something from it
  std::vector<nanobind::object> versions;

  ~Signature();
  void update_needs();
};

// The arguments of a call as CPython passes them.
struct Arguments {
  PyObject *const *values;
  Py_ssize_t positional;
  PyObject *keyword_names; // a tuple or null
  Py_ssize_t keywords() const { return keyword_names ? PyTuple_GET_SIZE(keyword_names) : 0; }
};

bool learn_signature(const Arguments &arguments, const std::vector<char> &positional_static,
                     const std::vector<char> &keyword_static,
                     Signature *signature); // false: error set
Match match_signature(const Signature &signature, const Arguments &arguments, PyObject **leaves,
                      std::vector<nanobind::object> *owned);

// What a call works with; kept for the next call, so that nothing is allocated at every call.
struct Work {
  std::vector<PyObject *> leaves; // borrowed until `hold`
  std::vector<LeafValue> values;
  std::vector<nanobind::object> owned;
  std::vector<sod2_input> inputs;
  std::vector<void *> blocks;
  std::vector<const void *> pinned; // memory of deleted arguments that the run still reads
  std::vector<PyObject *> results;
  bool holds = false;
  bool keeps_donated = false; // donated arguments stay

  void hold(); // other threads may change the containers of the arguments while the GIL is released
  void reset();
};

// Reads all leaves of the call. On Error or Tracer, `*at` is the leaf.
Read read_leaves(Signature *signature, PyObject *canonicalize, Work *work, size_t *at);
// Runs the version; a new reference, or null with the error set.
PyObject *run_version(Version *version, const std::shared_ptr<Version::Sizes> &sizes, Work *work);

} // namespace sod2py
