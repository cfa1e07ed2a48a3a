#include "template.h"

#include <algorithm>

namespace nb = nanobind;

namespace sod2py {
namespace {

// Of other types the registry is asked each time: they may be registered any day.
bool is_leaf_type(PyTypeObject *type) {
  auto *object = reinterpret_cast<PyObject *>(type);
  return object == jax.array_type || PySet_Contains(jax.leaf_types, object) == 1;
}

// 1: a leaf, 0: a node of the registry, -1: error.
int ask_registry(PyObject *object, nb::object *treedef, int64_t *count) {
  nb::object leaves;
  if (!flatten(object, &leaves, treedef))
    return -1;
  *count = static_cast<int64_t>(nb::len(leaves));
  return *count == 1 && PyList_GET_ITEM(leaves.ptr(), 0) == object;
}

} // namespace

bool flatten(PyObject *tree, nb::object *leaves, nb::object *treedef) {
  nb::object pair = nb::steal(call(jax.flatten, tree));
  if (!pair.is_valid())
    return false;
  if (!PyTuple_Check(pair.ptr()) || PyTuple_GET_SIZE(pair.ptr()) != 2 ||
      !PyList_Check(PyTuple_GET_ITEM(pair.ptr(), 0))) {
    PyErr_SetString(PyExc_TypeError, "the pytree registry gave no (leaves, treedef)");
    return false;
  }
  *leaves = nb::borrow(PyTuple_GET_ITEM(pair.ptr(), 0));
  *treedef = nb::borrow(PyTuple_GET_ITEM(pair.ptr(), 1));
  return true;
}

bool learn(PyObject *example, int64_t first_leaf, Node *node) {
  node->leaf = first_leaf;
  node->leaves = 0;
  if (example == Py_None) {
    node->kind = Node::None;
    return true;
  }
  if (PyDict_CheckExact(example)) {
    std::vector<nb::object> keys;
    std::vector<PyObject *> values;
    PyObject *key = nullptr, *value = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(example, &at, &key, &value);) {
      keys.push_back(nb::borrow(key));
      values.push_back(value);
    }
    return learn_dict(keys, values, first_leaf, node);
  }
  bool tuple = PyTuple_CheckExact(example);
  if (tuple || PyList_CheckExact(example)) {
    node->kind = tuple ? Node::Tuple : Node::List;
    Py_ssize_t size = Py_SIZE(example);
    for (Py_ssize_t i = 0; i < size; ++i) {
      node->children.emplace_back();
      PyObject *child = tuple ? PyTuple_GET_ITEM(example, i) : PyList_GET_ITEM(example, i);
      if (!learn(child, first_leaf + node->leaves, &node->children.back()))
        return false;
      node->leaves += node->children.back().leaves;
    }
    return true;
  }
  node->kind = Node::Leaf;
  node->leaves = 1;
  if (is_leaf_type(Py_TYPE(example)))
    return true;
  int leaf = ask_registry(example, &node->treedef, &node->leaves);
  if (leaf == 0)
    node->kind = Node::Registered;
  return leaf >= 0;
}

bool learn_dict(const std::vector<nb::object> &keys, const std::vector<PyObject *> &values,
                int64_t first_leaf, Node *node) {
  node->kind = Node::Dict;
  node->leaf = first_leaf;
  node->leaves = 0;
  node->keys = keys;
  node->children.resize(keys.size());
  // JAX numbers the leaves by sorted keys.
  nb::object sorted = nb::steal(PyList_New(0));
  for (const nb::object &key : keys)
    if (PyList_Append(sorted.ptr(), key.ptr()))
      return false;
  if (PyList_Sort(sorted.ptr()))
    return false;
  for (size_t i = 0; i < keys.size(); ++i) {
    PyObject *key = PyList_GET_ITEM(sorted.ptr(), static_cast<Py_ssize_t>(i));
    size_t at = 0;
    while (at < keys.size() && keys[at].ptr() != key)
      ++at;
    if (!learn(values[at], first_leaf + node->leaves, &node->children[at]))
      return false;
    node->leaves += node->children[at].leaves;
  }
  return true;
}

bool same_key(PyObject *a, PyObject *b) {
  if (a == b)
    return true;
  int same = Py_TYPE(a) == Py_TYPE(b) ? PyObject_RichCompareBool(a, b, Py_EQ) : 0;
  if (same < 0)
    PyErr_Clear();
  return same > 0;
}

Match match(const Node &node, PyObject *tree, PyObject **leaves, std::vector<nb::object> *owned) {
  switch (node.kind) {
  case Node::Leaf: {
    leaves[node.leaf] = tree;
    if (is_leaf_type(Py_TYPE(tree)))
      return Match::Yes;
    if (tree == Py_None || PyTuple_CheckExact(tree) || PyList_CheckExact(tree) ||
        PyDict_CheckExact(tree))
      return Match::No;
    nb::object treedef;
    int64_t count = 0;
    int leaf = ask_registry(tree, &treedef, &count);
    return leaf < 0 ? Match::Error : leaf ? Match::Yes : Match::No;
  }
  case Node::None:
    return tree == Py_None ? Match::Yes : Match::No;
  case Node::Tuple:
  case Node::List: {
    bool tuple = node.kind == Node::Tuple;
    if (!(tuple ? PyTuple_CheckExact(tree) : PyList_CheckExact(tree)) ||
        Py_SIZE(tree) != static_cast<Py_ssize_t>(node.children.size()))
      return Match::No;
    for (size_t i = 0; i < node.children.size(); ++i) {
      auto at = static_cast<Py_ssize_t>(i);
      if (at >= Py_SIZE(tree)) // a registered child's flatten may have changed the list
        return Match::No;
      Match m =
          match(node.children[i], tuple ? PyTuple_GET_ITEM(tree, at) : PyList_GET_ITEM(tree, at),
                leaves, owned);
      if (m != Match::Yes)
        return m;
    }
    return Match::Yes;
  }
  case Node::Dict: {
    if (!PyDict_CheckExact(tree) ||
        PyDict_GET_SIZE(tree) != static_cast<Py_ssize_t>(node.keys.size()))
      return Match::No;
    PyObject *key = nullptr, *value = nullptr;
    size_t i = 0;
    for (Py_ssize_t at = 0; PyDict_Next(tree, &at, &key, &value); ++i) {
      if (i >= node.keys.size() || !same_key(key, node.keys[i].ptr()))
        return Match::No;
      Match m = match(node.children[i], value, leaves, owned);
      if (m != Match::Yes)
        return m;
    }
    return i == node.keys.size() ? Match::Yes : Match::No;
  }
  case Node::Registered: {
    nb::object found, treedef;
    if (!flatten(tree, &found, &treedef))
      return Match::Error;
    int same = PyObject_RichCompareBool(treedef.ptr(), node.treedef.ptr(), Py_EQ);
    if (same <= 0 || PyList_GET_SIZE(found.ptr()) != node.leaves)
      return same < 0 ? Match::Error : Match::No;
    for (int64_t i = 0; i < node.leaves; ++i)
      leaves[node.leaf + i] = PyList_GET_ITEM(found.ptr(), i);
    owned->push_back(std::move(found));
    return Match::Yes;
  }
  }
  return Match::No;
}

bool is_plain(const Node &node) {
  return node.kind != Node::Registered &&
         std::all_of(node.children.begin(), node.children.end(),
                     [](const Node &child) { return is_plain(child); });
}

PyObject *build(const Node &node, PyObject **leaves) {
  auto size = static_cast<Py_ssize_t>(node.children.size());
  if (node.kind == Node::Leaf) {
    PyObject *leaf = leaves[node.leaf];
    leaves[node.leaf] = nullptr;
    return leaf;
  }
  if (node.kind == Node::None)
    Py_RETURN_NONE;
  PyObject *tree = node.kind == Node::Tuple  ? PyTuple_New(size)
                   : node.kind == Node::List ? PyList_New(size)
                                             : PyDict_New();
  for (Py_ssize_t i = 0; tree && i < size; ++i) {
    PyObject *child = build(node.children[static_cast<size_t>(i)], leaves);
    if (child && node.kind == Node::Tuple) {
      PyTuple_SET_ITEM(tree, i, child);
    } else if (child && node.kind == Node::List) {
      PyList_SET_ITEM(tree, i, child);
    } else {
      if (!child || PyDict_SetItem(tree, node.keys[static_cast<size_t>(i)].ptr(), child))
        Py_CLEAR(tree);
      Py_XDECREF(child);
    }
  }
  return tree;
}

} // namespace sod2py
