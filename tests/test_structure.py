"""The rules of the code, held by plain `ast`: see CONTRIBUTING, "Rules of the code".

* A tree is {path: text}. A rule is a function from a tree to complaints, `path:line: what is wrong`; its docstring is the rule.
* The repository must give none; each rule must complain about the bad snippets in `BAD`, so that no rule can fall asleep.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from jax.extend.core import Primitive, primitives

from sod2jax.ir.loops import SCALAR_OPS

ROOT = Path(__file__).parents[1]
FOLDERS = ("sod2jax", "lowering", "runtime", "tests", "examples", "benchmarks", ".ci")
SUFFIXES = (".py", ".pyi", ".cpp", ".h", ".inc", ".txt", ".cmake", "")
LONGEST = 600

# Who may import whom: a part imports from parts further up only. Parts on one line do not import each other.
LAYERS = (
    ("errors", "compat", "state_compat"),
    ("options", "recent", "switches", "userfile"),
    ("ir",),
    ("specs",),
    ("arguments", "rebind", "retrace", "symbolic"),
    ("caught",),
    ("ops", "trace"),
    ("rewrite", "analyse"),
    ("plan",),
    ("lowering",),
    ("image", "_runtime"),
    ("binding",),
    ("pipeline",),
    ("stages",),
    ("api",),
    ("verification", "export", "bench"),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}

# Test files that mirror no module: they test the whole package.
WHOLE = ("tests/test_structure.py", "tests/test_growth.py", "tests/test_examples.py", "tests/test_random_programs.py",
               "tests/test_compile_growth.py", "tests/harness/", "tests/sweep/", "tests/models/", "tests/golden/")  # fmt: skip

SCALAR_NAMES = {name for names in SCALAR_OPS.values() for name in names}
# Only names that can be nothing else: "add" is also a fold of the loop IR, "slice" a Python word.
PRIMITIVE_NAMES = {p.name for p in vars(primitives).values() if isinstance(p, Primitive) and set(p.name) & {*"_-"}} - SCALAR_NAMES

Tree = dict[str, str]


# -- reading a tree


@cache
def parse(text: str) -> ast.Module:
    return ast.parse(text)


def python_files(tree: Tree, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    for path, text in tree.items():
        if path.endswith(".py") and path.startswith(tuple(folder + "/" for folder in folders)):
            yield path, parse(text)


def module_name(path: str) -> str:
    """`lowering/gemm.py` is installed as `sod2jax.lowering.gemm`."""
    name = re.sub(r"(/__init__)?\.py$", "", path).replace("/", ".")
    return "sod2jax." + name if name.split(".")[0] == "lowering" else name


def part(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def package_modules(tree: Tree) -> dict[str, str]:
    return {module_name(path): path for path, _ in python_files(tree, "sod2jax", "lowering")}


def imports(path: str, module: ast.Module, known) -> Iterator[tuple[int, str]]:
    """(line, module of ours that is imported), wherever the import stands: at the top, in a function, for type checkers only."""
    here = module_name(path).split(".")
    package = here if path.endswith("__init__.py") else here[:-1]
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = [*package[: len(package) - node.level + 1], *filter(None, [node.module])] if node.level else [node.module]
            source = ".".join(source)
            # `from package import name` means the module of that name where there is one, else what the package itself defines.
            names = [f"{source}.{alias.name}" if _is_module(f"{source}.{alias.name}", known) else source for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in dict.fromkeys(names) if name.split(".")[0] == "sod2jax")


def _is_module(name: str, known) -> bool:
    return name in known or name == "sod2jax._runtime" or any(other.startswith(name + ".") for other in known)


# -- the rules


def length(tree: Tree):
    """No file is longer than 600 lines: split by family or by concern, not by size."""
    for path, text in tree.items():
        lines = text.count("\n")
        if lines > LONGEST:
            yield f"{path}:{LONGEST}: {lines} lines"


def arrows(tree: Tree):
    """Imports point one way only, along `LAYERS`."""
    known = package_modules(tree)
    for path, module in python_files(tree, "sod2jax", "lowering"):
        own = part(module_name(path))
        if own not in RANK:
            yield f"{path}:1: say in LAYERS who may import `{own}`"
            continue
        for line, target in imports(path, module, known):
            other = part(target)
            if other != own and RANK.get(other, len(LAYERS)) >= RANK[own]:
                yield f"{path}:{line}: `{own}` must not import `{other}`"


def circles(tree: Tree):
    """No module imports itself, not even through others or inside of a function."""
    known = package_modules(tree)
    graph = {name: [] for name in known}
    for path, module in python_files(tree, "sod2jax", "lowering"):
        graph[module_name(path)] = [target for _, target in imports(path, module, known) if target in known]
    done: set[str] = set()

    def visit(name, trail):
        if name in trail:
            yield f"{known[name]}:1: imports itself: {' -> '.join([*trail[trail.index(name) :], name])}"
        elif name not in done:
            for target in graph[name]:
                yield from visit(target, [*trail, name])
            done.add(name)

    for name in graph:
        yield from visit(name, [])


def private_jax(tree: Tree):
    """Only compat.py and state_compat.py import from jax._src. (A test of theirs does, and tests/harness/cases.py.)"""
    for path, module in python_files(tree, *FOLDERS):
        if path in ("sod2jax/compat.py", "sod2jax/state_compat.py", "tests/test_compat.py", "tests/harness/cases.py"):
            continue
        for node in ast.walk(module):
            match node:
                case ast.Import(names=names):
                    found = any(alias.name.startswith("jax._src") for alias in names)
                case ast.ImportFrom(module=source, names=names):
                    found = (source or "").startswith("jax._src") or (source == "jax" and any(a.name == "_src" for a in names))
                case ast.Attribute(value=ast.Name(id="jax"), attr="_src"):
                    found = True
                case ast.Call(func=func, args=[ast.Constant(value=str(text)), *_]):
                    found = text.startswith("jax._src") and ast.unparse(func).endswith(("import_module", "__import__"))
                case _:
                    continue
            if found:
                yield f"{path}:{node.lineno}: jax._src belongs in compat.py"
    for path, text in tree.items():
        if path.startswith("runtime/") and "jax._src" in text:
            yield f"{path}:{text[: text.index('jax._src')].count(chr(10)) + 1}: jax._src belongs in compat.py"


def primitives_only_in_ops(tree: Tree):
    """Only ops/ knows primitives: others ask the OpDef record. (ir/dims.py and ir/ratio.py define those that read sizes.)"""
    for path, module in python_files(tree, "sod2jax", "lowering"):
        if path.startswith("sod2jax/ops/"):
            continue
        of_sizes = {"sod2jax/ir/dims.py": "dim_as_value", "sod2jax/ir/ratio.py": "size_float"}.get(path, "")
        allowed = {of_sizes, f"{of_sizes}_p"}
        for node in ast.walk(module):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                    found = re.fullmatch(r"(?!c_)[a-z]\w+_p", name) and name not in allowed  # ctypes has c_void_p
                case ast.Constant(value=str(name)):
                    found = name in PRIMITIVE_NAMES - allowed
                case ast.Compare(left=left, comparators=others):
                    found = name = next((text for side in (left, *others) if (text := primitive_name(side))), "")
                case ast.Match(subject=subject):
                    found = name = primitive_name(subject)
                case _:
                    continue
            if found:
                yield f"{path}:{getattr(node, 'lineno', 1)}: `{name}` names a primitive; make it a property of the OpDef record"


def primitive_name(node: ast.AST) -> str:
    """`eqn.primitive.name`, if `node` is that; else ""."""
    text = ast.unparse(node)
    return text if text.endswith(".primitive.name") else ""


def mirror(tree: Tree):
    """Each module has a test file of its name (more than one if need be: test_gemm.py, test_gemm_batched.py), and the reverse."""
    expected = {}
    for path, module in python_files(tree, "sod2jax", "lowering"):
        if Path(path).name in ("__init__.py", "__main__.py"):
            code = (node for node in module.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
            if any(node.name not in ("__getattr__", "__dir__") for node in code):  # those make a package load its names late
                yield f"{path}:1: holds code that no test file can mirror; give it a module"
            continue
        folder = Path("tests", *Path(path).parent.parts[path.startswith("sod2jax/") :])
        expected[f"{folder}/test_{Path(path).stem.lstrip('_')}"] = path
    # The C++ behind sod2jax._runtime is tested from Python too, by the names of its files.
    compiled = {f"tests/runtime/test_{Path(path).stem}" for path in tree if re.match(r"runtime/python/\w+\.cpp$", path)}
    tests = [path[:-3] for path in tree if re.match(r"tests/(\w+/)*test_\w+\.py$", path) and not path.startswith(WHOLE)]
    pairs = {(test, stem) for test in tests for stem in expected if test == stem or test.startswith(stem + "_")}
    for stem in expected.keys() - {stem for _, stem in pairs}:
        yield f"{expected[stem]}:1: has no {stem}.py"
    for test in set(tests) - {test for test, _ in pairs} - compiled:
        # tests/runtime/ holds the runtime's Python module against its sources; the C++ units stand in runtime/test.
        if test.replace("tests/runtime/test_", "runtime/python/") + ".cpp" not in tree:
            yield f"{test}.py:1: mirrors no module"


def packages(tree: Tree):
    """Every folder with modules is a package that gets installed; lowering/ as sod2jax.lowering. Tests and examples are
    not, but examples/zoo, whose files import each other, is one for who runs them from there."""
    for folder in sorted({str(Path(path).parent) for path, _ in python_files(tree, "sod2jax", "lowering")}):
        if f"{folder}/__init__.py" not in tree:
            yield f"{folder}/:1: has no __init__.py, so it would not be installed"
    for folder in ("tests", "examples"):
        found = (path for path in tree if re.fullmatch(rf"{folder}/(?!zoo/).*__init__\.py", path))
        yield from (f"{path}:1: {folder}/ is no package" for path in found)
    setup = parse(tree.get("setup.py", ""))
    found = [node for node in ast.walk(setup) if isinstance(node, ast.Call) and ast.unparse(node.func) == "find_packages"]
    folders = {folder for call in found for folder in re.findall(r"'(sod2jax|lowering)'", ast.unparse(call))}
    for folder in sorted({"sod2jax", "lowering"} - folders):
        yield f"setup.py:1: does not find the packages of {folder}/"


def file_names(tree: Tree):
    """A file is named for what it is about: no utils, helpers, common, misc, and no base but ops/_base.py."""
    for path in tree:
        if re.fullmatch(r"(?i)_?(test_)?(utils?|helpers?|common|misc|tools|stuff|base)", Path(path).stem) and path not in (
            "sod2jax/ops/_base.py",
            "tests/ops/test_base.py",
        ):
            yield f"{path}:1: `{Path(path).stem}` says nothing; name it for what it is about"


def docstrings(tree: Tree):
    """Every Python file that holds anything says on top what it is for."""
    for path, module in python_files(tree, *FOLDERS):
        if module.body and not ast.get_docstring(module):
            yield f"{path}:1: no docstring"


RULES = (length, arrows, circles, private_jax, primitives_only_in_ops, mirror, packages, file_names, docstrings)


# -- the repository keeps them


@cache
def repository() -> tuple[tuple[str, str], ...]:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))] + [ROOT / "setup.py"]
    skipped = {"__pycache__", "build"}
    files = [path for path in paths if path.is_file() and path.suffix in SUFFIXES and not skipped & {*path.parts}]
    return tuple((str(path.relative_to(ROOT)), path.read_text()) for path in files)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps(rule):
    complaints = sorted(set(rule(dict(repository()))))
    assert not complaints, f"{rule.__doc__}\n  " + "\n  ".join(complaints)


# -- and each rule can be broken

DOC = '"""Doc."""\n'
SETUP = {"setup.py": "find_packages('lowering') + find_packages(include=['sod2jax', 'sod2jax.*'])"}
BAD = [
    (length, {"runtime/src/long.cpp": "//\n" * 601}, "601 lines"),
    (arrows, {"sod2jax/ir/a.py": "from sod2jax.ops import b", "sod2jax/ops/b.py": ""}, "`ir` must not import `ops`"),
    (arrows, {"sod2jax/ir/a.py": "def f():\n  import sod2jax.trace"}, "sod2jax/ir/a.py:2: `ir` must not import `trace`"),
    (arrows, {"sod2jax/rewrite/a.py": "from sod2jax.analyse import rdp"}, "`rewrite` must not import `analyse`"),
    (arrows, {"sod2jax/plan/a.py": "from ..lowering import nests"}, "`plan` must not import `lowering`"),
    (arrows, {"lowering/a.py": "from sod2jax import pipeline", "sod2jax/pipeline.py": ""}, "must not import `pipeline`"),
    (arrows, {"lowering/a.py": "from sod2jax import _runtime"}, "`lowering` must not import `_runtime`"),
    (arrows, {"sod2jax/plan/a.py": "import sod2jax as sod2"}, "`plan` must not import `__init__`"),
    (arrows, {"sod2jax/attic.py": ""}, "say in LAYERS who may import `attic`"),
    (circles, {"sod2jax/ir/a.py": "from sod2jax.ir import b", "sod2jax/ir/b.py": "from .a import f"}, "ir.a -> sod2jax.ir.b -> "),
    (circles, {"lowering/a.py": "def f():\n  from sod2jax.lowering.a import g"}, "lowering.a -> sod2jax.lowering.a"),
    (private_jax, {"sod2jax/trace.py": "import jax._src.core"}, "trace.py:1"),
    (private_jax, {"lowering/a.py": "def f():\n  from jax._src import core"}, "a.py:2"),
    (private_jax, {"examples/a.py": "from jax import _src"}, "a.py:1"),
    (private_jax, {"sod2jax/ops/a.py": "import jax\njax._src.core.f()"}, "a.py:2"),
    (private_jax, {"tests/test_a.py": "import_module('jax._src.core')"}, "test_a.py:1"),
    (private_jax, {"runtime/python/a.cpp": '//\nimport_("jax._src.core")'}, "a.cpp:2"),
    (primitives_only_in_ops, {"sod2jax/plan/a.py": "if eqn.primitive is lax.add_p: pass"}, "`add_p`"),
    (primitives_only_in_ops, {"sod2jax/plan/a.py": "from jax.extend.core.primitives import rev_p as d"}, "`rev_p`"),
    (primitives_only_in_ops, {"sod2jax/trace.py": "from jax import lax\nGENERIC = {lax.rev_p: 1}"}, "trace.py:2: `rev_p`"),
    (primitives_only_in_ops, {"lowering/a.py": "if name in ('dot_general', 'x'): pass"}, "`dot_general`"),
    (primitives_only_in_ops, {"lowering/a.py": "if eqn.primitive.name == 'add': pass"}, "`eqn.primitive.name`"),
    (primitives_only_in_ops, {"lowering/a.py": "if p.primitive.name in TABLE: pass"}, "`p.primitive.name`"),
    (primitives_only_in_ops, {"lowering/a.py": "match eqn.primitive.name:\n  case 'add': pass"}, "`eqn.primitive.name`"),
    (primitives_only_in_ops, {"sod2jax/ir/facts.py": "dim_as_value_p = 1"}, "`dim_as_value_p`"),
    (mirror, {"sod2jax/ir/a.py": ""}, "sod2jax/ir/a.py:1: has no tests/ir/test_a.py"),
    (mirror, {"lowering/gemm.py": "", "tests/test_gemm.py": ""}, "lowering/gemm.py:1: has no tests/lowering/test_gemm.py"),
    (mirror, {"sod2jax/api.py": "", "tests/test_api.py": "", "tests/test_apia.py": ""}, "test_apia.py:1: mirrors no"),
    (mirror, {"sod2jax/ops/__init__.py": "def f(): pass"}, "sod2jax/ops/__init__.py:1: holds code"),
    (packages, {**SETUP, "sod2jax/ir/deep/a.py": ""}, "sod2jax/ir/deep/:1: has no __init__.py"),
    (packages, {**SETUP, "tests/ir/__init__.py": ""}, "tests/ is no package"),
    (packages, {"setup.py": "find_packages('sod2jax')"}, "does not find the packages of lowering/"),
    (file_names, {"sod2jax/plan/utils.py": ""}, "`utils` says nothing"),
    (file_names, {"runtime/src/helpers.cpp": ""}, "`helpers` says nothing"),
    (file_names, {"tests/test_util.py": ""}, "`test_util` says nothing"),
    (file_names, {"sod2jax/plan/base.py": ""}, "`base` says nothing"),
    (docstrings, {"sod2jax/a.py": "x = 1"}, "no docstring"),
]  # fmt: skip
GOOD = {
    **SETUP,
    "sod2jax/__init__.py": DOC + "from sod2jax.api import jit\n__all__ = ['jit']",
    "sod2jax/api.py": DOC + "from sod2jax import pipeline, errors\nfrom sod2jax.ops import OPS",
    "sod2jax/errors.py": DOC,
    "sod2jax/pipeline.py": DOC + "from sod2jax import _runtime\nfrom sod2jax.lowering import gemm\nx: c_void_p = 'add'",
    "sod2jax/rewrite/__init__.py": DOC + "from sod2jax.rewrite import cse",
    "sod2jax/rewrite/cse.py": DOC + "def maker(eqn, *prims): return eqn.primitive in prims",
    "sod2jax/compat.py": DOC + "from jax._src import core",
    "sod2jax/ir/__init__.py": "",
    "sod2jax/ir/dims.py": DOC + "dim_as_value_p = Primitive('dim_as_value')",
    "sod2jax/ops/__init__.py": DOC + "from sod2jax.ops import _base\nOPS = _base.OPS",
    "sod2jax/ops/_base.py": DOC + "from sod2jax.ir.dims import dim_as_value_p\nOPS = {lax.dot_general_p: 'dot_general'}",
    "lowering/__init__.py": "",
    "lowering/gemm.py": DOC + "from sod2jax.ir import dims",
    "runtime/python/program.cpp": "// why",
    "tests/runtime/test_program.py": DOC,
    **{f"tests/test_{name}.py": DOC for name in ("api", "api_methods", "errors", "pipeline", "compat", "structure")},
    **{f"tests/{name}.py": DOC for name in ("ir/test_dims", "ops/test_base", "rewrite/test_cse", "lowering/test_gemm")},
}


@pytest.mark.parametrize(("rule", "tree", "complaint"), BAD, ids=lambda value: getattr(value, "__name__", None))
def test_each_rule_can_be_broken(rule, tree, complaint):
    complaints = list(rule(tree))
    assert any(complaint in text for text in complaints), complaints


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_good_code_breaks_none(rule):
    assert list(rule(GOOD)) == []


def test_every_rule_has_a_bad_example():
    assert {rule for rule, *_ in BAD} == set(RULES)
