# SPDX-License-Identifier: Apache-2.0
"""The objects that clang makes of *.bpf.c when agentcg is built; they lie beside the sources.

A script of its own (`python3 bpf/objects.py`): building the wheel, make and the guest run it
before there is anything to import. Without clang there are no objects, and the daemon says so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent
SUFFIX = ".bpf.o"
CLANGS = ("clang-19", "clang", "clang-20", "clang-21")
"""19 is in Debian 12 and 13; before 16 clang leaves out types that the kernel asks for."""
OLDEST = 16
# -mcpu=v3: atomic exchange. Relative names and no DWARF: the same object wherever it is built.
_FLAGS = (
    "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
    "-Wno-unused-parameter", "-Wno-sign-compare", "-fdebug-compilation-dir=.",
)  # fmt: skip


def object_path(name: str) -> Path:
    """Where the object NAME.bpf.o is, or would be."""
    return DIRECTORY / f"{name}{SUFFIX}"


def sources() -> list[Path]:
    """The programs, one for each object."""
    return sorted(DIRECTORY.glob("*.bpf.c"))


def compiler() -> tuple[str, str] | None:
    """clang and llvm-strip of one version, or None where there is no clang that does."""
    for clang in CLANGS:
        path = shutil.which(clang)
        if path is None or _version(path) < OLDEST:
            continue
        for strip in (clang.replace("clang", "llvm-strip"), f"llvm-strip-{_version(path)}"):
            if shutil.which(strip):
                return path, strip
    return None


def build() -> list[Path]:
    """Make the objects that are missing or older than their sources; those that were made.

    Raises `subprocess.CalledProcessError` where a program does not compile; does nothing
    without a compiler.
    """
    newest = max(path.stat().st_mtime for path in [*DIRECTORY.glob("*.[ch]"), Path(__file__)])
    stale = [
        source
        for source in sources()
        if not (made := source.with_suffix(".o")).exists() or made.stat().st_mtime < newest
    ]
    tools = compiler() if stale else None
    if tools is None:
        return []
    for source in stale:
        _compile(source, *tools)
    return stale


def _compile(source: Path, clang: str, strip: str) -> None:
    """Under another name first: a half-written object is never found."""
    made = source.with_suffix(".o")
    aside = made.with_suffix(".new")
    subprocess.run([clang, *_FLAGS, "-c", source.name, "-o", aside.name], cwd=DIRECTORY, check=True)
    subprocess.run([strip, "-g", aside.name], cwd=DIRECTORY, check=True)
    aside.rename(made)


def _version(clang: str) -> int:
    said = subprocess.run([clang, "-dumpversion"], capture_output=True, text=True, check=True)
    return int(said.stdout.split(".")[0])


def main() -> None:
    """Build, and say what is missing; exit status 1 where a program does not compile."""
    try:
        build()
    except subprocess.CalledProcessError as error:
        sys.exit(f"agentcg: {error}")
    missing = [path for path in sources() if not path.with_suffix(".o").exists()]
    if missing:
        print(
            f"agentcg: no clang {OLDEST} or newer with llvm-strip: built without the programs of "
            f"{', '.join(path.name for path in missing)} (install clang, llvm and libbpf-dev)",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
