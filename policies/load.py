# SPDX-License-Identifier: Apache-2.0
"""Policies from a directory, all or nothing.

`load` reads every `*.yaml` of a directory in name order over the built-in default. A single
mistake in any of them refuses the whole directory, so that what is in force is always what
one version of the files says.
"""

from __future__ import annotations

import os
import stat
from importlib import resources
from pathlib import Path

from agentcg.errors import PolicyError
from agentcg.policies.checker import parse
from agentcg.policies.language import FILE_MAX_BYTES
from agentcg.policies.mistakes import Mistake, refuse
from agentcg.policies.rules import File, Policy

FILES_MAX = 64
BUILTIN = "default.yaml"


def load(directory: Path) -> Policy:
    """Policy of `directory`; the built-in default where it does not exist or has no files.

    Raises PolicyError with file:line:column of every mistake in any file.
    """
    files, mistakes = _read_directory(directory)
    refuse(mistakes)
    if not files:
        return DEFAULT
    return Policy((*files, _builtin()), str(directory))


def check(path: Path) -> list[Mistake]:
    """Every mistake of a file, or of all `*.yaml` of a directory.

    Raises PolicyError where `path` cannot be read.
    """
    if path.is_dir():
        return _read_directory(path)[1]
    return _read_file(path)[1]


def _read_directory(directory: Path) -> tuple[list[File], list[Mistake]]:
    files: list[File] = []
    mistakes: list[Mistake] = []
    for path in _names(directory):
        file, wrong = _read_file(path)
        files.append(file)
        mistakes += wrong
    return files, mistakes


def _names(directory: Path) -> list[Path]:
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".yaml")
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


def _builtin() -> File:
    text = (resources.files(__package__) / BUILTIN).read_bytes()
    file, mistakes = parse(text, BUILTIN, builtin=True)
    refuse(mistakes)
    return file


DEFAULT = Policy((_builtin(),), "built-in default")
