"""A user's file: loaded as Python would, its mistakes told in one line."""

import os
import sys

import pytest

from sod2jax.userfile import Mistake, UserCode, load


def test_a_file_sees_its_folder(tmp_path):
    (tmp_path / "userfile_part.py").write_text("x = 7")
    (tmp_path / "userfile_whole.py").write_text("from userfile_part import x")
    assert load(tmp_path / "userfile_whole.py").x == 7


def test_a_file_of_a_package_is_loaded_as_its_module(tmp_path):
    package = tmp_path / "userfile_package" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package.parent / "part.py").write_text("x = 7")
    (package / "whole.py").write_text("from userfile_package.part import x\nfrom ..part import x as y")
    assert load(package / "whole.py").__name__ == "userfile_package.inner.whole"


def test_an_edited_file_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "userfile_edited.py"
    for x in (7, 8):
        file.write_text(f"x = {x}")
        os.utime(file, (1e9, 1e9))  # as if within one second
        assert load(file).x == x


def test_mistakes(tmp_path):
    with pytest.raises(Mistake, match=r"none.py: no such file"):
        load(tmp_path / "none.py")
    (tmp_path / "text.txt").touch()
    with pytest.raises(Mistake, match=r"text.txt: not a Python file"):
        load(tmp_path / "text.txt")
    file = tmp_path / "userfile_wrong.py"
    file.write_text("\ndef f(:")
    with pytest.raises(Mistake, match=r"userfile_wrong.py:2: SyntaxError"):
        load(file)
    file.write_text("\n\nraise ValueError('two\\nlines')")
    with pytest.raises(Mistake, match=r"userfile_wrong.py:3: ValueError: two lines"):
        load(file)


def test_code_that_is_at_fault_elsewhere(tmp_path):
    with pytest.raises(Mistake, match=r"model.py: KeyError"), UserCode(tmp_path / "model.py"):
        raise KeyError("not of this file")
