# SPDX-License-Identifier: Apache-2.0
"""The cache of built things: one directory per content key, whole or absent."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from guestvm.progress import say

KEEP_S = 14 * 86400  # entries that nobody used for so long go


def cache_directory(environment: dict[str, str] | None = None) -> Path:
    """`$AGENTCG_GUEST_CACHE`, else agentcg-guest in the user's cache directory."""
    env = os.environ if environment is None else environment
    if env.get("AGENTCG_GUEST_CACHE"):
        return Path(env["AGENTCG_GUEST_CACHE"]).absolute()
    base = env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or "~").expanduser() / ".cache"
    return Path(base) / "agentcg-guest"


def content_key(parts: Iterable[str | bytes | Path]) -> str:
    """A name for what is made of `parts`: texts, bytes, and the contents of files."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        data = data.encode() if isinstance(data, str) else data
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the exclusive lock file `path`; says so when it has to wait for `what`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that prepares {what}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def entry(sort: str, key: str, what: str, build: Callable[[Path], None], *, keep: int = 3) -> Path:
    """The directory `<sort>-<key>` of the cache; `build(directory)` fills it if it is missing.

    `keep` entries of a sort stay beside a new one, if they were used lately.

    It is built under a name of its own and renamed when it is whole and on the disk, so that an
    interrupted build is never used; processes that want the same wait for the first.
    """
    cache = cache_directory()
    final = cache / f"{sort}-{key}"
    if not final.is_dir():
        with locked(cache / f"{sort}.lock", what):
            if not final.is_dir():
                _build(final, build)
                _prune(cache, sort, final, keep)
    os.utime(final)
    return final


def _build(final: Path, build: Callable[[Path], None]) -> None:
    partial = final.with_name(f"partial.{final.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        build(partial)
        for path in partial.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _prune(cache: Path, sort: str, new: Path, keep: int) -> None:
    """Remove what an interrupted build left, and old entries of a sort; its lock is held."""
    for partial in cache.glob(f"partial.{sort}-*"):
        shutil.rmtree(partial, ignore_errors=True)
    entries = [path for path in cache.glob(f"{sort}-*") if path != new]
    for path in stale(((path, path.stat().st_mtime) for path in entries), keep, time.time()):
        say(f"removing {path.name} from the cache: not used lately")
        shutil.rmtree(path, ignore_errors=True)


def stale(entries: Iterable[tuple[Path, float]], keep: int, now_s: float) -> list[Path]:
    """Which of the (path, time of last use) to remove: all but the newest `keep`, and the old."""
    newest_first = sorted(entries, key=lambda entry: entry[1], reverse=True)
    return [
        path
        for rank, (path, used_s) in enumerate(newest_first)
        if rank >= keep or now_s - used_s > KEEP_S
    ]
