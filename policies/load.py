# SPDX-License-Identifier: Apache-2.0
"""Policies from a directory, all or nothing.

`load` reads every `*.yaml` of a directory in name order over the built-in default. A single
mistake in any of them refuses the whole directory, so that what is in force is always what
one version of the files says.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path

from agentcg.errors import PolicyError
from agentcg.policies.checker import parse
from agentcg.policies.extend import in_order
from agentcg.policies.language import DEFAULT_NAME, FILE_MAX_BYTES
from agentcg.policies.mistakes import Mistake, refuse
from agentcg.policies.rules import SUFFIX, Extends, File, Policy
from agentcg.policies.sense import contradictions, doubts

FILES_MAX = 64


def load(path: Path, memory_total_bytes: int | None = None) -> Policy:
    """Policy of a directory (or of one file); the built-in default where there are no files.

    `memory_total_bytes`: memory of this machine, for warnings of what is more than it has.
    Raises PolicyError with file:line:column of every mistake in any file.
    """
    found = _Found(path, single=path.is_file())
    refuse(found.mistakes)
    if not found.ordered:
        return DEFAULT
    ordered = (*found.ordered, _builtin())
    return Policy(ordered, str(path), doubts(ordered, memory_total_bytes))


def from_texts(files: Iterable[tuple[str, str]], source: str) -> Policy:
    """The policy of files that were read elsewhere, in the order in which they are asked; the
    built-in default that was in force there is the last.

    Raises PolicyError where this version does not understand them.
    """
    given = list(files)
    parsed = []
    for number, (name, text) in enumerate(given, 1):
        file, mistakes = parse(text, name, builtin=number == len(given))
        refuse(mistakes)
        parsed.append(file)
    return Policy(parsed, source)


def check(
    path: Path,
    memory_total_bytes: int | None = None,
    is_login: Callable[[str], bool] | None = None,
) -> list[Mistake]:
    """Every mistake of a file, or of all `*.yaml` of a directory, then warnings (`sense.doubts`).

    Raises PolicyError where `path` cannot be read.
    """
    found = _Found(path, single=not path.is_dir())
    total = None if found.mistakes else memory_total_bytes
    return found.mistakes + doubts((*found.ordered, _builtin()), total, is_login)


class _Found:
    """The files of a directory, or one file, with what they extend, in order, and every
    mistake in them."""

    def __init__(self, path: Path, *, single: bool) -> None:
        self.mistakes: list[Mistake] = []
        self._directory = path.parent if single else path
        self._beside: dict[str, File] = {}
        names = [path] if single else _names(path)
        given = [self._read(each) for each in names]
        for file in given:
            self._follow(file)
        self.ordered, wrong = in_order(given, self._find)
        self.mistakes += wrong
        if not self.mistakes:
            self.mistakes += contradictions((*self.ordered, _builtin()))

    def _read(self, path: Path) -> File:
        file, wrong = _read_file(path)
        self.mistakes += wrong
        self._beside[file.name] = file
        return file

    def _follow(self, file: File) -> None:
        """Read what `file` extends and is not read yet: only where one file alone was given."""
        for named in file.extends:
            path = self._directory / named.name
            known = not named.is_file or named.name in self._beside
            if not known and len(self._beside) < FILES_MAX and path.exists():
                self._follow(self._read(path))

    def _find(self, named: Extends) -> File | None:
        return self._beside.get(named.name) if named.is_file else _shipped(named.name)


def _names(directory: Path) -> list[Path]:
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(directory, error) from error
    # Editors' and package managers' files of the same suffix: ".x.yaml.swp" has another one.
    paths = [path for path in paths if not path.name.startswith(".")]
    if len(paths) > FILES_MAX:
        raise PolicyError(f"{directory}: {len(paths)} policy files, at most {FILES_MAX} are read")
    return paths


def _read_file(path: Path) -> tuple[File, list[Mistake]]:
    try:
        # O_NONBLOCK: a FIFO of that name must not stop the daemon.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return File(path.name, {}), [Mistake(path.name, 0, 0, "", "", "not a regular file")]
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                data = stream.read(FILE_MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error
    return parse(data, path.name)


def _unreadable(path: Path, error: OSError) -> PolicyError:
    reason = error.strerror or str(error)
    return PolicyError(f"{path}: {reason}", remedy="the policy in force stays")


@cache
def _shipped(name: str) -> File:
    """A policy that ships with agentcg, by its name."""
    file_name = name + SUFFIX
    text = (resources.files(__package__) / file_name).read_bytes()
    file, mistakes = parse(text, file_name, builtin=name == DEFAULT_NAME)
    refuse(mistakes)
    return replace(file, shipped=True)


def _builtin() -> File:
    return _shipped(DEFAULT_NAME)


DEFAULT = Policy((_builtin(),), "built-in default")
