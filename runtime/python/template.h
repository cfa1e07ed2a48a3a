#pragma once
#include "jax_names.h"

#include <memory>
#include <vector>

// The shape of a pytree, learnt from one example, so that later trees of exact tuples, lists and
// dicts are taken apart without asking JAX's registry (which sorts dict keys at every call). Other
// nodes go through the registry.
namespace sod2py {

struct Node {
  enum Kind { Leaf, None, Tuple, List, Dict, Registered } kind = Leaf;
  int64_t leaf = 0; // number of its first leaf
  std::vector<Node> children;
  std::vector<nanobind::object> keys; // of a dict, in the order of the example; children alike
  nanobind::object treedef;           // of a registered node
  int64_t leaves = 1;
};

// Flattens with JAX's registry. False: error set.
bool flatten(PyObject *tree, nanobind::object *leaves, nanobind::object *treedef);

bool learn(PyObject *example, int64_t first_leaf, Node *node); // false: error set
bool learn_dict(const std::vector<nanobind::object> &keys, const std::vector<PyObject *> &values,
                int64_t first_leaf, Node *node);

enum class Match { Yes, No, Error };
// Writes the leaves (borrowed; those of registered nodes are kept alive by `owned`).
Match match(const Node &node, PyObject *tree, PyObject **leaves,
            std::vector<nanobind::object> *owned);
bool same_key(PyObject *a, PyObject *b);

// Builds a tree from leaves (whose references it takes); null: error set. Only for trees without
// registered nodes.
bool is_plain(const Node &node);
PyObject *build(const Node &node, PyObject **leaves);

} // namespace sod2py
