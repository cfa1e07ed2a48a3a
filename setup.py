"""Builds the C++ runtime with CMake and maps `lowering/` to `sod2jax.lowering`; all metadata is in pyproject.toml."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


class CMakeBuild(build_ext):
    """Configures and builds `runtime/`, and puts the module where setuptools wants it (the source tree, if editable)."""

    def build_extension(self, ext):
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = Path(self.build_temp).resolve() / ext.name
        # A build folder made in another isolated environment points to a CMake, Ninja and nanobind that are gone.
        shutil.rmtree(build, ignore_errors=True)
        build.mkdir(parents=True)
        configure = [
            *("cmake", "-S", str(ROOT / "runtime"), "-B", str(build)),
            "-DCMAKE_BUILD_TYPE=" + ("Debug" if self.debug else "Release"),
            "-DSOD2RT_PYTHON=ON",
            "-DSOD2RT_TESTS=OFF",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DSOD2RT_MODULE_DIR={target.parent}",
        ]
        if shutil.which("ninja"):
            configure += ["-G", "Ninja"]
        configure += os.environ.get("CMAKE_ARGS", "").split()
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build), "--target", "_runtime", "--parallel"], check=True)
        if not target.exists():
            raise RuntimeError(f"CMake did not build {target.name}; it wrote {[p.name for p in target.parent.glob('_runtime*')]}")


def packages() -> list[str]:
    lowering = ["", *("." + name for name in find_packages("lowering"))]
    return find_packages(include=["sod2jax", "sod2jax.*"]) + ["sod2jax.lowering" + name for name in lowering]


setup(
    packages=packages(),
    package_dir={"sod2jax.lowering": "lowering"},
    ext_modules=[Extension("sod2jax._runtime", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
