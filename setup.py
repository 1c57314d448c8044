# SPDX-License-Identifier: Apache-2.0
"""Builds the BPF objects (bpf/objects.py) before the wheel or an editable install takes them."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """`build_py` that compiles first."""

    def run(self) -> None:
        """Compile, then go on as usual."""
        here = Path(__file__).resolve().parent
        # An sdist has no links: there the folder is where the link would be.
        folders = (here / "bpf", here / "src" / "agentcg" / "bpf")
        objects = next(folder for folder in folders if folder.is_dir()) / "objects.py"
        runpy.run_path(str(objects), run_name="__main__")
        super().run()


setup(cmdclass={"build_py": BuildPy})
