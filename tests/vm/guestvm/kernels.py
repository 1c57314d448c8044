# SPDX-License-Identifier: Apache-2.0
"""The list of kernels, tests/vm/kernels, and kernels of one's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from guestvm.errors import UsageError

LIST = Path(__file__).resolve().parent.parent / "kernels"
ALL = "all"

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.,+=_-]{0,63}")


@dataclass(frozen=True)
class Kernel:
    """One line of the list; the list's head says what the fields mean. One's own has an image."""

    name: str
    suite: str
    package: str
    cpu: str = "max"
    image: Path | None = None


def parse_kernels(text: str) -> list[Kernel]:
    """The kernels of a list; UsageError names the line that is wrong."""
    kernels: list[Kernel] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 4 or not all(_WORD.fullmatch(word) for word in words):
            raise UsageError(f"{LIST.name}:{number}: not four words: name suite package cpu")
        kernel = Kernel(*words)
        if kernel.name == ALL or kernel.name in (one.name for one in kernels):
            raise UsageError(f"{LIST.name}:{number}: {kernel.name!r} is taken")
        kernels.append(kernel)
    if not kernels:
        raise UsageError(f"{LIST.name}: it lists no kernel")
    return kernels


def load_kernels() -> list[Kernel]:
    """The project's kernels, the default first."""
    return parse_kernels(LIST.read_text())


def choose_kernels(kernels: list[Kernel], name: str | None) -> list[Kernel]:
    """The kernels that `--kernel NAME` means; None is the default, "all" is all. What has a "/" in
    it is the path of an image."""
    if name is None:
        return kernels[:1]
    if "/" in name:
        return [_own(Path(name))]
    if name == ALL:
        return kernels
    for kernel in kernels:
        if kernel.name == name:
            return [kernel]
    known = ", ".join(kernel.name for kernel in kernels)
    raise UsageError(f"no kernel {name!r}; there are {known}, and {ALL}, and paths of images")


def _own(image: Path) -> Kernel:
    if not image.is_file():
        raise UsageError(f"there is no kernel {image}")
    return Kernel(image.name, "", "", image=image)
