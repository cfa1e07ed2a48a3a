#pragma once
#include "arrays.h"
#include "inputs.h"
#include "program.h"
#include "template.h"

#include <memory>
#include <optional>

namespace sod2py {

// What a version is looked up by, apart from sizes.
struct Key {
  nanobind::object in_tree, statics, context, leaves;
  std::vector<nanobind::object> dtypes; // as NumPy dtypes
  std::vector<int64_t> codes, ranks;
  std::vector<bool> weak_types;
  bool weak_given = false;

  Key(nanobind::object in_tree, nanobind::object statics, nanobind::list dtypes,
      std::vector<int64_t> ranks, nanobind::object weak_types, nanobind::object context);
  Key() = default;
};

// A compiled program with what stands between it and a call: which leaf is which input, what the
// results look like.
class Version {
public:
  // `read`: null for all that are kept.
  Version(nanobind::object program, const Key &key, std::vector<int64_t> kept,
          nanobind::object out_tree, std::vector<bool> out_weak_types, std::vector<int64_t> donated,
          std::vector<std::string> paths, nanobind::object tag,
          std::optional<std::vector<int64_t>> read);
  ~Version();
  Version(const Version &) = delete;
  Version &operator=(const Version &) = delete;

  // Everything of one combination of sizes.
  struct Sizes {
    uint64_t hash = 0, last_used = 0;
    std::vector<int64_t> dims;
    sod2_plan *plan = nullptr;
    sod2_plan_info info = {};
    std::vector<OutputKind> outputs;
    std::vector<int64_t> donated; // leaves that a call gives up: those that jax.jit would use
    ~Sizes() { sod2_plan_release(plan); }
  };
  enum class Fit { Yes, No, Contract, Error };
  // Whether this version serves a call with these leaves; `reason` says why not (a broken contract:
  // in the caller's words).
  Fit fit(const std::vector<LeafValue> &leaves, PyObject *context, std::shared_ptr<Sizes> *sizes,
          std::string *reason);
  bool same_context(PyObject *given) const;

  Program *program = nullptr;
  Key key;
  std::vector<int64_t> kept, read, donated; // leaves: inputs, those whose contents count, offered
  std::vector<bool> out_weak_types;
  nanobind::object program_object, out_tree, tag;
  std::vector<std::string> paths;
  Node out_node;
  bool out_plain = false;
  int64_t hits = 0;

private:
  std::string name_of(size_t leaf) const;
  std::vector<int64_t> used_donations(const std::vector<LeafValue> &leaves,
                                      const std::vector<OutputKind> &outputs) const;
  bool leaves_fit(const std::vector<LeafValue> &leaves, std::string *reason) const;

  std::vector<std::shared_ptr<Sizes>> all_sizes_;
  std::shared_ptr<Sizes> last_sizes_;
  std::vector<Aval> last_infos_; // of each leaf, when last_sizes_ fitted
  uint64_t clock_ = 0;
};

} // namespace sod2py
