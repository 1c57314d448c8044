# SPDX-License-Identifier: Apache-2.0
"""Running guests: a directory each, with its disk, sockets and console, and a QEMU process.

The directory's lock file is held by QEMU itself (an inherited descriptor), so that a directory
whose lock is free is a leftover, whoever made it and however it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from guestvm import cache, host
from guestvm.errors import GuestError, UsageError
from guestvm.progress import tail
from guestvm.qemu import CONSOLE, DISK, QMP_SOCKET, Machine, qemu_argv
from guestvm.qmp import Qmp

RESTORE_TIMEOUT_S = 60.0
QMP_TIMEOUT_S = 30.0
_LOCK = "lock"
_PID = "pid"
_ERRORS = "qemu.err"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def running_directory() -> Path:
    """Where the running guests' directories are."""
    return cache.cache_directory() / "run"


def check_name(name: str) -> str:
    """A name for a guest: also its hostname."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no guest's name: a-z, 0-9 and '-', at most 32 characters")
    return name


@dataclass(frozen=True)
class Saved:
    """A booted guest on disk: its disk and its memory."""

    disk: Path
    ram: Path


class Instance:
    """A guest by name, running or not."""

    def __init__(self, name: str) -> None:
        self.name = check_name(name)
        self.directory = running_directory() / name

    def start(self, machine: Machine, saved: Saved | None = None, *, detached: bool) -> None:
        """Boot the machine, or go on from a saved state of it.

        A guest that is not `detached` dies with this process.
        """
        lock = self._claim()
        with lock:
            try:
                if not machine.deterministic:  # that one maps its root into memory
                    self._create_disk(saved.disk if saved else machine.root)
                self._start_qemu(machine, saved, lock, detached=detached)
                if saved is not None:
                    self._resume()
            except BaseException:
                self.stop()
                raise

    def _claim(self) -> IO[str]:
        """The lock of a fresh directory; UsageError if the guest is running."""
        with cache.locked(running_directory().with_name("run.lock"), "a guest"):
            if self.directory.exists() and self.is_running():
                raise UsageError(f"guest {self.name} is running already")
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir(parents=True)
            lock = (self.directory / _LOCK).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _create_disk(self, base: Path) -> None:
        base_format = "qcow2" if base.suffix == ".qcow2" else "raw"
        command = [host.program("qemu-img"), "create", "-q", "-f", "qcow2"]
        command += ["-b", str(base), "-F", base_format, str(self.directory / DISK)]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        if result.returncode:
            raise GuestError(f"qemu-img: {result.stderr.strip()}")

    def _start_qemu(
        self, machine: Machine, saved: Saved | None, lock: IO[str], *, detached: bool
    ) -> None:
        program = host.program("qemu-system-x86_64")
        argv = qemu_argv(machine, program, saved.ram if saved else None)
        if not detached:
            argv = [host.program("setpriv"), "--pdeathsig", "KILL", *argv]
        with (self.directory / _ERRORS).open("w") as errors:
            process = subprocess.Popen(
                argv,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )
        (self.directory / _PID).write_text(str(process.pid))

    def _resume(self) -> None:
        with self.qmp() as qmp:
            status = qmp.wait_while("query-status", {"inmigrate"}, RESTORE_TIMEOUT_S)
            if status not in ("paused", "prelaunch"):
                raise self.failure(f"the saved state does not load: {status}")
            qmp.execute("cont")

    def qmp(self) -> Qmp:
        """QEMU's control socket."""
        try:
            return Qmp(self.directory / QMP_SOCKET, QMP_TIMEOUT_S)
        except OSError as error:
            raise self.failure(f"QEMU's control socket: {error}") from error

    def is_running(self) -> bool:
        """Whether QEMU lives: it holds the lock."""
        try:
            with (self.directory / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def stop(self) -> None:
        """Kill QEMU and remove the directory: a guest's disk is a throw-away."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.directory / _PID).read_text())
            if self._is_ours(pid):
                os.kill(pid, signal.SIGKILL)
                _reap(pid)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _is_ours(self, pid: int) -> bool:
        """Whether `pid` is still the process that we started: its directory is the guest's."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cwd").resolve() == self.directory.resolve()
        return False

    def wait_ended(self) -> None:
        """Wait until QEMU, told to quit, has."""
        with contextlib.suppress(OSError, ValueError):
            _reap(int((self.directory / _PID).read_text()))

    def failure(self, what: str) -> GuestError:
        """A GuestError with what QEMU and the console said last."""
        logs = [tail(self.directory / name) for name in (_ERRORS, CONSOLE)]
        return GuestError("\n".join([f"{self.name}: {what}", *filter(None, logs)]))


def _reap(pid: int) -> None:
    """Wait for the end of `pid`, a child of ours or not."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.01)


def instances() -> list[Instance]:
    """The running guests, by name."""
    return [one for one in _all() if one.is_running()]


def remove_leftovers() -> None:
    """Remove the directories of guests that do not run any more."""
    with cache.locked(running_directory().with_name("run.lock"), "a guest"):
        for one in _all():
            if not one.is_running():
                shutil.rmtree(one.directory, ignore_errors=True)


def _all() -> list[Instance]:
    directory = running_directory()
    if not directory.is_dir():
        return []
    return [Instance(path.name) for path in sorted(directory.iterdir()) if path.is_dir()]
