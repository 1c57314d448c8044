# SPDX-License-Identifier: Apache-2.0
"""Small C programs on the path of every tool call, compiled on the host that runs them.

The wheel has their sources only, since it is the same for all machines. `build` needs a C compiler
and the C library's headers; without, `agentcg hook` does the same in Python, more slowly.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from agentcg.errors import SpawnError

SOURCES = Path(__file__).parent
PROGRAMS = ("agentcg-hook", "agentcg-shell")
_COMPILERS = ("cc", "gcc", "clang", "clang-19")
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-s")
_COMPILE_S = 60.0


def compiler() -> str | None:
    """Path of a C compiler, or None."""
    return next(filter(None, map(shutil.which, _COMPILERS)), None)


def installed(name: str) -> Path | None:
    """The program where `make install` put it: beside this interpreter; None where it is not."""
    path = Path(sys.executable).with_name(name)
    return path if path.is_file() else None


def build(directory: Path, name: str) -> Path:
    """Compile a program into `directory`; statically where that works, for it starts faster.

    Raises `SpawnError` where there is no compiler or it fails; `directory` is as it was then.
    """
    cc = compiler()
    if cc is None:
        raise SpawnError("cc", "no C compiler on this machine", None)
    directory.mkdir(parents=True, exist_ok=True)
    aside = directory / f".{name}.new"
    source = SOURCES / f"{name.removeprefix('agentcg-')}.c"
    try:
        for linking in (("-static",), ()):
            command = [cc, *_FLAGS, *linking, "-o", str(aside), str(source)]
            done = subprocess.run(command, capture_output=True, timeout=_COMPILE_S, check=False)
            if done.returncode == 0:
                return aside.rename(directory / name)
    except subprocess.TimeoutExpired as error:
        raise SpawnError(cc, "compiling", None) from error
    finally:
        aside.unlink(missing_ok=True)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    raise SpawnError(cc, f"compiling {source.name}: {said[-1] if said else 'failed'}", None)


def main() -> None:
    """`python -m agentcg.native`: build all of them beside this interpreter."""
    for name in PROGRAMS:
        print(build(Path(sys.executable).parent, name))
