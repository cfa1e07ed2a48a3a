// The Python type of a compiled function: a callable with the vectorcall protocol, which nanobind's
// classes do not have.
#include "function.h"

#include <nanobind/stl/string.h>
#include <structmember.h>

namespace nb = nanobind;

namespace sod2py {
namespace {

struct FunctionObject {
  PyObject_HEAD vectorcallfunc vectorcall;
  PyObject *dict, *weaklist;
  State *state;
};

FunctionObject *cast(PyObject *self) { return reinterpret_cast<FunctionObject *>(self); }

// C++ errors end here: what goes back to CPython is null with an error set.
template <typename Body> PyObject *guarded(Body body) {
  try {
    return body();
  } catch (nb::python_error &error) {
    error.restore();
  } catch (const nb::builtin_exception &error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const std::bad_alloc &) {
    PyErr_NoMemory();
  } catch (const std::exception &error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyObject *vectorcall(PyObject *self, PyObject *const *values, size_t nargsf,
                     PyObject *keyword_names) {
  return guarded([&] {
    Arguments arguments = {values, PyVectorcall_NARGS(nargsf), keyword_names};
    return call_function(self, cast(self)->state, arguments);
  });
}

PyObject *create(PyTypeObject *type, PyObject *, PyObject *) {
  PyObject *self = type->tp_alloc(type, 0);
  if (self) {
    cast(self)->vectorcall = vectorcall;
    cast(self)->state = new State();
    cast(self)->state->miss = cast(self)->state->inline_call = cast(self)->state->canonicalize =
        nb::none();
  }
  return self;
}

int init(PyObject *self, PyObject *args, PyObject *kwargs) {
  static const char *keywords[] = {"miss",           "inline",          "canonicalize",
                                   "static_argnums", "static_argnames", nullptr};
  PyObject *miss = nullptr, *inline_call = nullptr, *canonicalize = nullptr, *argnums = nullptr,
           *argnames = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|$OO", const_cast<char **>(keywords), &miss,
                                   &inline_call, &canonicalize, &argnums, &argnames))
    return -1;
  PyObject *done = guarded([&] {
    need_setup();
    State *state = cast(self)->state;
    state->miss = nb::borrow(miss);
    state->inline_call = nb::borrow(inline_call);
    state->canonicalize = nb::borrow(canonicalize);
    state->static_argnums.clear();
    state->static_argnames.clear();
    if (argnums)
      for (nb::handle number : nb::borrow(argnums))
        state->static_argnums.push_back(nb::cast<int64_t>(number));
    if (argnames)
      for (nb::handle name : nb::borrow(argnames))
        state->static_argnames.push_back(nb::borrow(name));
    return Py_NewRef(Py_None);
  });
  Py_XDECREF(done);
  return done ? 0 : -1;
}

int traverse(PyObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(cast(self)->dict);
  State *state = cast(self)->state;
  if (!state)
    return 0;
  Py_VISIT(state->miss.ptr());
  Py_VISIT(state->inline_call.ptr());
  Py_VISIT(state->canonicalize.ptr());
  for (const std::shared_ptr<Signature> &signature : state->signatures) {
    if (signature.use_count() > 1) // held by a call that runs: its references are not only ours
      continue;
    for (const nb::object &version : signature->versions)
      Py_VISIT(version.ptr());
    for (const auto *arguments : {&signature->positional, &signature->keyword})
      for (const Signature::Argument &argument : *arguments)
        Py_VISIT(argument.value.ptr());
  }
  return 0;
}

int clear(PyObject *self) {
  Py_CLEAR(cast(self)->dict);
  if (State *state = cast(self)->state) {
    auto signatures = std::move(state->signatures);
    state->signatures.clear();
    state->miss = state->inline_call = state->canonicalize = nb::none();
  }
  return 0;
}

void destroy(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (cast(self)->weaklist)
    PyObject_ClearWeakRefs(self);
  clear(self);
  delete cast(self)->state;
  cast(self)->state = nullptr;
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject *descriptor_get(PyObject *self, PyObject *instance, PyObject *) {
  if (!instance || instance == Py_None)
    return Py_NewRef(self);
  return PyMethod_New(self, instance);
}

PyTypeObject *version_type = nullptr;

PyObject *add(PyObject *self, PyObject *version) {
  return guarded([&]() -> PyObject * {
    if (!PyObject_TypeCheck(version, version_type))
      return PyErr_Format(PyExc_TypeError, "add wants a Version, given %R", version);
    add_version(cast(self)->state, nb::borrow(version));
    return Py_NewRef(Py_None);
  });
}

PyObject *clear_versions(PyObject *self, PyObject *) {
  auto signatures = std::move(cast(self)->state->signatures);
  cast(self)->state->signatures.clear();
  Py_RETURN_NONE;
}

PyObject *versions(PyObject *self, void *) {
  return guarded([&] {
    nb::list all;
    for (const std::shared_ptr<Signature> &signature : cast(self)->state->signatures)
      for (const nb::object &version : signature->versions)
        all.append(version);
    return all.release().ptr();
  });
}

// The arguments of a method that gets (args, kwargs) as objects.
template <typename Body> PyObject *with_arguments(PyObject *args, Body body) {
  PyObject *positional = nullptr, *keywords = nullptr;
  if (!PyArg_ParseTuple(args, "O!O!", &PyTuple_Type, &positional, &PyDict_Type, &keywords))
    return nullptr;
  return guarded([&] {
    std::vector<PyObject *> values;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(positional); ++i)
      values.push_back(PyTuple_GET_ITEM(positional, i));
    nb::object keyword_names = nb::steal(PySequence_Tuple(keywords));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keyword_names.ptr()); ++i)
      values.push_back(PyDict_GetItem(keywords, PyTuple_GET_ITEM(keyword_names.ptr(), i)));
    return body(Arguments{values.data(), PyTuple_GET_SIZE(positional), keyword_names.ptr()});
  });
}

PyObject *key_method(PyObject *self, PyObject *args) {
  return with_arguments(
      args, [&](const Arguments &a) { return key_of(cast(self)->state, a).release().ptr(); });
}

PyObject *flatten_method(PyObject *self, PyObject *args) {
  return with_arguments(args, [&](const Arguments &a) -> PyObject * {
    Flat flat;
    if (!flatten_call(*cast(self)->state, a, &flat))
      return nullptr;
    return nb::make_tuple(flat.leaves, flat.in_tree, flat.statics).release().ptr();
  });
}

PyMethodDef methods[] = {
    {"add", add, METH_O, "Adds a Version; the newest is tried first."},
    {"clear", clear_versions, METH_NOARGS, "Forgets all versions."},
    {"key_of", key_method, METH_VARARGS,
     "key_of(args, kwargs): the Key of a call, which is not run."},
    {"flatten", flatten_method, METH_VARARGS,
     "flatten(args, kwargs): (leaves, in_tree, statics) of the dynamic arguments."},
    {nullptr, nullptr, 0, nullptr}};
PyGetSetDef properties[] = {
    {"versions", versions, nullptr, "All versions.", nullptr},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(FunctionObject, vectorcall), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(FunctionObject, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FunctionObject, weaklist), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

template <typename F> void *slot(F *function) { return reinterpret_cast<void *>(function); }

} // namespace

void define_function(nb::module_ &m) {
  version_type = reinterpret_cast<PyTypeObject *>(nb::type<Version>().ptr());
  PyType_Slot slots[] = {{Py_tp_new, slot(create)},
                         {Py_tp_init, slot(init)},
                         {Py_tp_dealloc, slot(destroy)},
                         {Py_tp_traverse, slot(traverse)},
                         {Py_tp_clear, slot(clear)},
                         {Py_tp_call, slot(PyVectorcall_Call)},
                         {Py_tp_descr_get, slot(descriptor_get)},
                         {Py_tp_methods, methods},
                         {Py_tp_getset, properties},
                         {Py_tp_members, members},
                         {0, nullptr}};
  PyType_Spec spec = {"sod2jax._runtime.Function", sizeof(FunctionObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
                          Py_TPFLAGS_HAVE_VECTORCALL,
                      slots};
  nb::object type = nb::steal(PyType_FromSpec(&spec));
  if (!type.is_valid())
    throw nb::python_error();
  m.attr("Function") = type;
}

} // namespace sod2py
