"""A user's Python file: loaded as Python itself would, and what goes wrong in it told in one line that names its line.

* A file in a folder with `__init__.py` is loaded as a module of that package, as pytest does; any other as `python FILE.py` does,
  with its folder on `sys.path`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any


class Mistake(Exception):
    """Something to tell the user in one line."""


def load(path: str | Path) -> Any:
    """The module that the file at `path` makes; a Mistake if there is none, or if it raises."""
    file = Path(path).resolve()
    if not file.is_file() or file.suffix != ".py":
        raise Mistake(f"{path}: {'no such file' if not file.exists() else 'not a Python file'}")
    root, name = file.parent, file.stem
    while (root / "__init__.py").exists():
        root, name = root.parent, f"{root.name}.{name}"
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    with UserCode(path):
        if "." in name:
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        # Not `exec_module`: a file edited within a second, to the same length, would be taken from the bytecode cache.
        exec(spec.loader.source_to_code(file.read_bytes(), str(file)), module.__dict__)
        return module


class UserCode:
    """Runs the user's code: what it raises becomes a Mistake, one line with the last line of the user's file at work."""

    def __init__(self, path: str | Path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, err, trace):
        if err is None or not isinstance(err, Exception) or isinstance(err, Mistake):
            return
        file = Path(self.path).resolve()
        lines = [frame.lineno for frame in traceback.extract_tb(trace) if Path(frame.filename).resolve() == file]
        if isinstance(err, SyntaxError) and err.filename and Path(err.filename).resolve() == file:
            lines = [err.lineno]
        where = f"{self.path}:{lines[-1]}" if lines else self.path
        message = " ".join(str(err).split())
        raise Mistake(f"{where}: {type(err).__name__}: {message}") from None
