# SPDX-License-Identifier: Apache-2.0
"""What the detection program reports, on the running kernel."""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.bpf import Detection, Sight, libbpf, sights
from agentcg.bpf.btf import Btf
from bpf_support import Leaf, cgroup2, leaf, pin_root


@pytest.fixture(scope="module")
def pins() -> Iterator[Path]:
    with pin_root() as root:
        yield root


@pytest.fixture
def session(pins: Path) -> Iterator[Leaf]:
    """A session: the scope, with a watched leaf in it."""
    with leaf() as made:
        yield made


@pytest.fixture
def runtime(session: Leaf) -> Leaf:
    return session.child("runtime")


@pytest.fixture
def detection(pins: Path, session: Leaf, runtime: Leaf) -> Iterator[Detection]:
    opened = Detection.open(session.path, pins)
    opened.look_for([])
    opened.read_variables([])
    opened.tell_at_once([])
    drain(opened)
    opened.watch(runtime.id)
    yield opened
    opened.unwatch(runtime.id)
    opened.close()


def drain(detection: Detection) -> list[Sight]:
    found: list[Sight] = []
    while more := detection.poll():
        found += more
    return found


def of(found: list[Sight], kind: str) -> list[Sight]:
    return [sight for sight in found if sight.kind == kind]


def test_births_executions_and_ends_of_a_session(detection: Detection, runtime: Leaf) -> None:
    """A shell and its child are reported with parent, session, arguments and status."""
    status = runtime.run("/bin/sh", "-c", "/bin/true; exit 3")

    found = drain(detection)
    shell, true = of(found, "ran")
    (born,) = of(found, "born")
    assert status == 3
    assert shell.argv == ("/bin/sh", "-c", "/bin/true; exit 3")
    assert (true.argv, true.comm, true.watched) == (("/bin/true",), "true", True)
    assert (born.pid, born.start_ticks) == (true.pid, true.start_ticks)
    assert (true.parent, true.parent_start_ticks) == (shell.pid, shell.start_ticks)
    assert (true.uid, true.sid, true.pgid) == (os.getuid(), os.getsid(0), os.getpgid(0))
    ends = [(gone.pid, gone.status) for gone in of(found, "gone")]
    assert ends == [(true.pid, 0), (shell.pid, 3)]


def test_ancestry_outlives_the_parent(detection: Detection, runtime: Leaf) -> None:
    """A process whose parent has ended, as daemons do it, is still its child here."""
    runtime.python(
        "import os, time\n"
        "over, ends = os.pipe()\n"
        "os.set_inheritable(ends, True)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    parent = os.getpid()\n"
        "    if os.fork() == 0:\n"
        "        while os.getppid() == parent: time.sleep(0.01)\n"
        "        os.execv('/bin/true', ['true'])\n"
        "    os._exit(0)\n"
        "os.close(ends); os.wait(); os.read(over, 1)\n"  # until true has ended
    )

    found = drain(detection)
    first, second = of(found, "born")
    true = of(found, "ran")[-1]
    assert (true.pid, true.parent) == (second.pid, first.pid)
    assert true.sid == first.pid


def test_only_asked_for_variables_are_read(detection: Detection, runtime: Leaf) -> None:
    """Of the environment the named variables arrive, also behind very long ones, and no others."""
    detection.read_variables(["CODEX_TOOL_CALL_ID", "CLAUDECODE"])
    environment = {
        "SECRET": "hunter2", "LONG": "x" * 3000, "CLAUDECODE": "1",
        "CODEX_TOOL_CALL_ID": "call_7", "LAST": "hunter3",
    }  # fmt: skip
    subprocess.run(["/bin/true"], env=environment, preexec_fn=runtime.enter, check=True)

    (true,) = of(drain(detection), "ran")
    assert true.environment == {"CLAUDECODE": "1", "CODEX_TOOL_CALL_ID": "call_7"}


def test_a_name_is_reported_wherever_it_runs(detection: Detection, tmp_path: Path) -> None:
    """A program of a name that is looked for is reported outside of sessions, without births."""
    agent = tmp_path / "clod"
    agent.symlink_to("/bin/true")
    detection.look_for(["clod"])
    subprocess.run([agent, "--print"], check=True)
    subprocess.run(["/bin/true"], check=True)

    (seen,) = drain(detection)
    assert (seen.comm, seen.watched, seen.kind) == ("clod", False, "ran")
    assert seen.argv == (str(agent), "--print")
    relative = next(
        line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"
    )
    assert seen.cgroup_id == (cgroup2() / relative.strip("/")).stat().st_ino


def heard(detection: Detection) -> bool:
    """Whether somebody who waits would have been told by now."""
    return bool(select.select([detection.fileno()], [], [], 0)[0])


def test_what_may_begin_a_call_is_told_at_once(detection: Detection, runtime: Leaf) -> None:
    """By its name, by a variable, or because any program may; all else waits for the next look."""
    detection.read_variables(["CODEX_TOOL_CALL_ID"])
    detection.tell_at_once(["dash"])
    runtime.run("/bin/true")
    assert not heard(detection)
    runtime.run("/bin/dash", "-c", ":")
    assert heard(detection)
    assert [sight.comm for sight in of(drain(detection), "ran")] == ["true", "dash"]
    with_it = {"CODEX_TOOL_CALL_ID": "1"}
    subprocess.run(["/bin/true"], env=with_it, preexec_fn=runtime.enter, check=True)
    assert heard(detection)
    drain(detection)
    detection.watch(runtime.id, each=True)
    runtime.run("/bin/true")
    assert heard(detection)


def test_hostile_arguments_are_bounded(detection: Detection, runtime: Leaf) -> None:
    """Of two megabytes, control characters and bytes that are no text, both ends come through."""
    argv: list[bytes] = [b"/bin/true", b"\x1b[2J\xff", *[b"y" * 100_000] * 20, b"end"]
    runtime.run(*argv)

    (true,) = of(drain(detection), "ran")
    assert true.argv[:2] == ("/bin/true", "\x1b[2J\udcff")
    assert (true.argv_cut, true.argv[-1]) == (True, "end")
    assert sum(len(word) + 1 for word in true.argv) <= sights.ARGV_BYTES + 2


def test_what_is_not_watched_costs_no_record(detection: Detection, session: Leaf) -> None:
    """Processes in a leaf that is not watched, such as a call's, are not reported."""
    session.child("call-1").run("/bin/sh", "-c", "/bin/true")

    assert drain(detection) == []
    assert detection.lost == 0


def test_mirror_has_the_layout_of_the_program(pins: Path, detection: Detection) -> None:
    """Python reads the records at the offsets at which the kernel's side writes them."""
    directory = next(path for path in pins.iterdir() if path.is_dir())
    fd = libbpf.get_pinned(directory / "map_watched")
    with Btf.loaded(libbpf.btf_id_of_map(fd)) as loaded:
        for name, mirror in (
            ("agentcg_sight", sights.SightRecord),
            ("agentcg_sight_ran", sights.RanRecord),
        ):
            ours = [(field[0], getattr(mirror, field[0]).offset) for field in mirror._fields_]
            theirs = [(member.name, member.offset_bytes) for member in loaded.members(name)]
            assert ours == theirs
            assert ctypes.sizeof(mirror) == loaded.size(name)
    os.close(fd)
