# SPDX-License-Identifier: Apache-2.0
"""Finding bcc without importing it: the import maps LLVM, some 100 MB."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from agentcg.errors import BpfError

REMEDY = "install the distribution's python3-bpfcc (Fedora: python3-bcc)"
# bcc comes with the distribution and not from PyPI. It is plain Python over ctypes, so the
# interpreter of a virtual environment can use it from there.
_DISTRIBUTION = ("/usr/lib/python3/dist-packages", "/usr/lib/python3/site-packages")


class Bcc(NamedTuple):
    """An installed bcc."""

    directory: Path
    version: str


def find() -> Bcc | None:
    """The bcc that `load` would import; None where there is none."""
    try:
        spec = importlib.util.find_spec("bcc")
    except (ImportError, ValueError):
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec else []
    places += [f"{directory}/bcc" for directory in _DISTRIBUTION]
    for place in map(Path, places):
        if (place / "libbcc.py").is_file():
            return Bcc(place, _version(place))
    return None


def load() -> Any:
    """Import bcc; BpfError where that is not possible."""
    found = find()
    if found is None:
        raise BpfError("bcc is not installed", remedy=REMEDY)
    sys.path.append(str(found.directory.parent))
    try:
        return importlib.import_module("bcc")
    except (ImportError, OSError) as error:  # OSError: libbcc.so.0 is missing
        raise BpfError(f"bcc cannot be imported: {error}", remedy=REMEDY) from error


def _version(place: Path) -> str:
    try:
        match = re.search(r"['\"](.+)['\"]", (place / "version.py").read_text())
    except OSError:
        match = None
    return match[1] if match else "unknown"
