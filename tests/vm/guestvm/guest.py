# SPDX-License-Identifier: Apache-2.0
"""A guest with the project in it: start, install, copy in and out, run commands."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from guestvm import host, project
from guestvm.channel import Channel, Outcome, Request, Sink
from guestvm.errors import GuestError
from guestvm.initrd import initrd
from guestvm.instance import Instance
from guestvm.kernels import Kernel
from guestvm.qemu import Machine
from guestvm.rootfs import own_kernel, rootfs
from guestvm.sinks import Collect
from guestvm.snapshot import BOOT_TIMEOUT_S, settle, snapshot

GREETING_TIMEOUT_S = 60.0
STEP_TIMEOUT_S = 120.0
PUSHED_BYTES_PER_S = 2_000_000  # at least, where others use the processors as well
WORK = f"/{project.WORK}"
SKIPPED = frozenset((".git", ".venv", "__pycache__", "node_modules", ".cache"))
# Deterministic commands start at a multiple of this on the guest's monotonic clock.
ALIGN_S = 20.0
DETERMINISTIC_ENV = {"PYTHONHASHSEED": "0"}
_INSTALLED = "installed"

# systemd finds new units by itself, but has to be told about changed ones.
_UNPACK = f"""
rm -rf {WORK} /{project.SITE}/agentcg
cd /usr/local/lib
[ ! -e systemd/system/agentcgd.service ] || changed=yes
tar -xf - --no-overwrite-dir -C / || exit
[ ! -e sysusers.d/agentcg.conf ] || systemd-sysusers $PWD/sysusers.d/agentcg.conf || exit
[ ! -e tmpfiles.d/agentcg.conf ] || systemd-tmpfiles --create $PWD/tmpfiles.d/agentcg.conf || exit
[ -z "$changed" ] || systemctl daemon-reload
"""


# Writeback; khugepaged's scan (faults still get huge pages); DAMON's random sampling.
_CALM = """
sync
thp=/sys/kernel/mm/transparent_hugepage/khugepaged
[ ! -d $thp ] || echo 4294967295 >$thp/scan_sleep_millisecs || exit
damon=/sys/module/damon_stat/parameters/enabled
[ ! -e $damon ] || echo N >$damon
"""


@dataclass(frozen=True)
class Options:
    """What kind of guest to start."""

    memory_bytes: int
    cpus: int
    deterministic: bool = False
    cold: bool = False  # boot, even where a snapshot would do


def machine(kernel: Kernel, options: Options) -> Machine:
    """The machine for a kernel; builds the root and the initrd if they are missing."""
    host.install_packages()
    root = rootfs()
    image = root / "root.img"
    directory = own_kernel(kernel.image) if kernel.image else root / kernel.name
    return Machine(
        kernel=kernel.name,
        cpu_model=kernel.cpu,
        vmlinux=directory / "vmlinux",
        initrd=initrd(root / "busybox", directory / "modules"),
        root=image,
        root_bytes=image.stat().st_size,
        memory_bytes=options.memory_bytes,
        cpus=options.cpus,
        deterministic=options.deterministic,
    )


class Guest:
    """A running guest by name."""

    def __init__(self, name: str) -> None:
        self.instance = Instance(name)

    def start(self, kernel: Kernel, options: Options, *, detached: bool) -> None:
        """Start it, from a snapshot where that is possible, and give it its identity."""
        built = machine(kernel, options)
        if options.cold or options.deterministic:
            self.instance.start(built, detached=detached)
            settle(self.instance)
        else:
            self.instance.start(built, snapshot(built), detached=detached)
        try:
            with self.channel(BOOT_TIMEOUT_S) as channel:
                hostname = f"guest-{self.instance.name}"
                channel.configure(hostname, set_clock=not options.deterministic)
        except BaseException:
            self.instance.stop()
            raise

    def channel(self, timeout_s: float = GREETING_TIMEOUT_S) -> Channel:
        """A session with its agent."""
        return Channel(self.instance.directory, self.instance.failure, timeout_s)

    def install(self) -> None:
        """Install the checkout, unless it is there already in its present form."""
        project.build_objects()
        packed = project.pack(project.items())
        state = self.instance.directory / _INSTALLED
        with contextlib.suppress(OSError):
            if state.read_text() == packed.key:
                return
        with tempfile.TemporaryFile() as file:
            file.write(packed.archive)
            file.seek(0)
            self._step("installing the project", ["/bin/sh", "-c", _UNPACK], stdin=file)
        state.write_text(packed.key)

    def push(self, source: Path, target: str) -> None:
        """Copy a directory (without .git, caches and environments) or a file to `target`."""
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
                name = "." if source.is_dir() else source.name
                archive.add(source, name, filter=_wanted)
            timeout_s = STEP_TIMEOUT_S + file.tell() / PUSHED_BYTES_PER_S
            file.seek(0)
            script = 'mkdir -p "$1" && tar -xf - --no-same-owner -C "$1"'
            command = ["/bin/sh", "-c", script, "sh", target]
            self._step(f"pushing {source}", command, stdin=file, timeout_s=timeout_s)

    def fetch(self, source: str, target: Path) -> None:
        """Copy a file or a directory of the guest into the directory `target`."""
        target.mkdir(parents=True, exist_ok=True)
        unpack = ["tar", "-xf", "-", "--no-same-owner", "-C", str(target)]
        with subprocess.Popen(unpack, stdin=subprocess.PIPE) as unpacker:
            pipe = cast("IO[bytes]", unpacker.stdin)
            directory, name = os.path.split(source.rstrip("/"))
            pack = ["tar", "-cf", "-", "-C", directory or "/", name or "."]
            self._step(f"fetching {source}", pack, stdout=pipe)
            pipe.close()
        if unpacker.returncode:
            raise GuestError(f"fetching {source}: tar on the host: {unpacker.returncode}")

    def calm(self) -> None:
        """Stop what the kernel would do at its leisure while something is measured."""
        self._step("calming the kernel", ["/bin/sh", "-c", _CALM])

    def _step(
        self,
        what: str,
        argv: Sequence[str],
        stdin: IO[bytes] | None = None,
        stdout: Sink | None = None,
        timeout_s: float = STEP_TIMEOUT_S,
    ) -> None:
        errors = Collect()
        request = Request(argv, cwd="/", stdin=stdin is not None)
        with self.channel() as channel:
            sink = stdout or errors
            outcome = channel.run(request, sink, errors, stdin, timeout_s=timeout_s)
        if outcome.status:
            raise GuestError(f"{what} failed (status {outcome.status}): {errors.text()}")

    def run(
        self,
        request: Request,
        *,
        stdin: IO[bytes] | None = None,
        timeout_s: float | None = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
    ) -> Outcome:
        """Run a command, its output to ours."""
        with self.channel() as channel:
            out = stdout or sys.stdout.buffer
            return channel.run(request, out, stderr or sys.stderr.buffer, stdin, timeout_s)


def _wanted(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(info.name).name in SKIPPED else info
