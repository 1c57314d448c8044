# SPDX-License-Identifier: Apache-2.0
"""Replay with real processes, real memory and real limits, under all three controls."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agentcg.cgroups import Cgroup
from agentcg.daemon.client import DEFAULT_SOCKET
from agentcg.daemon.messages import Priority
from agentcg.daemon.replay.campaign import Campaign, Report, Settings
from agentcg.daemon.replay.controls import ControlName, sweep
from agentcg.daemon.replay.plan import Shape
from agentcg.daemon.replay.trace import Trace
from agentcg.errors import Conflict, Unavailable
from cgroup_support import own_cgroup, until
from daemon_support import Api
from replay_support import shell, trace

pytestmark = pytest.mark.any_kernel(minutes=3)

MIB = 1 << 20
BURST = trace(
    [40, 40, 80, 100, 40, 40, 40, 60, 40],
    [shell("big", 1.5, 3.4), shell("none", 5.0, 5.1), shell("small", 6.5, 7.4)],
    cpu_percent=[0, 5, 50, 20, 5, 5, 5, 50, 5],
)
"""An agent of 40 MiB; one call of 60 MiB, one too short to show, one of 20 MiB."""
ALLOCATIONS = 60 + 20
SOCKET = Path("/run/agentcg-test-nowhere")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Api]:
    """The installed daemon, as a host would run it."""
    subprocess.run(["systemctl", "start", "agentcgd"], check=True)
    api = Api(DEFAULT_SOCKET)
    until(lambda: api.get("/v1/health")["accounting"] != "starting", timeout_s=120)
    api.close_all()  # a replay bounds all sessions, and refuses where there are others
    yield api
    subprocess.run(["systemctl", "stop", "agentcgd", "agentcg.socket"], check=True)


@pytest.fixture
def parent() -> Iterator[Cgroup]:
    """A place for the cgroups of `none` and `static`."""
    with own_cgroup() as cgroup:
        yield cgroup


def measure(
    control: ControlName,
    sessions: list[tuple[Priority, Trace]],
    limit_mib: int,
    *,
    socket: Path = SOCKET,
    parent: Cgroup | None = None,
    alone: str = "no",
) -> Report:
    """One campaign at four times the recorded speed."""
    settings = Settings(
        limit_bytes=limit_mib * MIB,
        shape=Shape(speed=4),
        socket=socket,
        controls=(control,),
        alone=alone,  # type: ignore[arg-type]
        cgroup=parent.path if parent else None,
    )
    return Campaign(sessions, settings).measure()


@pytest.mark.parametrize("control", ["none", "static", "agentcg"])
def test_with_room_for_all_everything_completes(
    control: ControlName, daemon: Api, parent: Cgroup
) -> None:
    """Two sessions well under the limit: both complete, every call ran, every chunk was timed,
    nothing was killed, and nothing is left of the run."""
    bound = daemon.get("/v1/host")["memory_max_bytes"]
    report = measure(
        control, [("high", BURST), ("low", BURST)], 600, socket=daemon.path, parent=parent
    )
    (run,) = report.runs
    for session in run.sessions:
        assert session.state == "completed"
        assert (session.calls.completed, session.calls.planned) == (3, 3)
        assert session.calls.ungoverned == 0
        assert session.latency.count == ALLOCATIONS
        assert session.latency.unfinished == 0
        assert session.wall_s is not None
        assert session.wall_s >= session.planned_s * 0.99
        assert session.memory.oom_kills == 0
        assert 100 * MIB <= (session.memory.peak_bytes or 0) < 140 * MIB
        assert (session.cpu_usage_us or 0) > 0
    assert parent.children() == []
    assert daemon.get("/v1/sessions")["sessions"] == []
    assert daemon.get("/v1/host")["memory_max_bytes"] == bound


def test_without_control_somebody_is_killed(parent: Cgroup) -> None:
    """A limit below the peak: the kernel takes a process of the session, on most kernels its
    largest, the agent; then the call that did it goes too, as a container ends with its first
    process."""
    report = measure("none", [("high", BURST)], 75, parent=parent)
    (session,) = report.runs[0].sessions
    assert session.state == "killed" or session.calls.killed > 0
    assert (session.memory.oom_kills or 0) >= 1
    if session.state == "killed":
        assert session.exit_status == 128 + signal.SIGKILL
        assert session.wall_s is None
        assert session.during is not None
        assert session.during.startswith("call 1 of 3: run big")
        assert session.calls.not_run == 3
    assert 0 < session.latency.count < ALLOCATIONS
    assert (report.runs[0].shared.max_events or 0) > 0
    assert parent.children() == []


def test_static_limits_hold_for_each_session(parent: Cgroup) -> None:
    """Half of the limit each: both lose somebody, although together there would be room for one."""
    report = measure("static", [("high", BURST), ("low", BURST)], 150, parent=parent)
    for session in report.runs[0].sessions:
        assert session.state == "killed" or session.calls.killed > 0
    assert parent.children() == []


def test_under_agentcg_the_call_is_killed_and_the_agent_lives(daemon: Api) -> None:
    """The same limit as without control: the agent outlives its call and plays on to the end."""
    report = measure("agentcg", [("high", BURST)], 75, socket=daemon.path)
    (session,) = report.runs[0].sessions
    assert session.state == "completed"
    assert (session.calls.killed, session.calls.completed) == (1, 2)
    assert session.calls.ungoverned == 0


def test_alone_gives_a_factor(parent: Cgroup) -> None:
    """With `alone` each session's wall time is also a multiple of its time alone."""
    report = measure("none", [("high", BURST), ("low", BURST)], 600, parent=parent, alone="each")
    assert [run.control for run in report.alone] == ["alone"]
    for session in report.runs[0].sessions:
        assert session.alone_s == report.alone[0].sessions[0].wall_s
        assert session.x_alone is not None
        assert session.x_alone > 0.5


def test_sessions_of_others_are_not_disturbed(daemon: Api) -> None:
    """Replay bounds all sessions of the host, so it refuses while there are other ones."""
    bound = daemon.get("/v1/host")["memory_max_bytes"]
    daemon.open("somebody")
    try:
        with pytest.raises(Conflict, match="somebody"):
            measure("agentcg", [("high", BURST)], 600, socket=daemon.path)
        settings = Settings(
            limit_bytes=600 * MIB,
            shape=Shape(speed=4),
            socket=daemon.path,
            controls=("none", "agentcg"),
        )
        late = Campaign([("high", BURST)], settings)
        with pytest.raises(Conflict, match="somebody"):
            late.measure()
        assert late.runs == []  # it is found before the other controls are played
        assert daemon.get("/v1/host")["memory_max_bytes"] == bound
    finally:
        daemon.good("DELETE", "/v1/sessions/somebody")


def test_without_a_daemon_it_says_so() -> None:
    """The place for cgroups comes from the daemon, unless it is named."""
    with pytest.raises(Unavailable):
        measure("none", [("high", BURST)], 600)


@contextlib.contextmanager
def in_the_middle(daemon: Api, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A replay as a process, in the middle of a call that lasts longer than any test."""
    file = directory / "long.json"
    file.write_bytes(msgspec.json.encode(trace([40.0] * 1000, [shell("long", 1.0, 999.0)])))
    with subprocess.Popen(
        [sys.executable, "-m", "agentcg.daemon.replay", "--high", str(file), "--speed", "1",
         "--limit", "700M", "--quiet"],
        env={**os.environ, "AGENTCG_SOCKET": str(daemon.path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        try:
            until(lambda: process.poll() is not None or _calls_begun(daemon), timeout_s=120)
            assert process.poll() is None, process.communicate()
            yield process
        finally:
            process.kill()


def _calls_begun(daemon: Api) -> int:
    return sum(session["calls_total"] for session in daemon.get("/v1/sessions")["sessions"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_nothing_is_left(
    number: signal.Signals, daemon: Api, tmp_path: Path
) -> None:
    """Interrupted in the middle of work: sessions closed, processes gone, host bound as before."""
    bound = daemon.get("/v1/host")["memory_max_bytes"]
    with in_the_middle(daemon, tmp_path) as process:
        assert daemon.get("/v1/host")["memory_max_bytes"] == 700 * MIB
        process.send_signal(number)
        process.communicate(timeout=300)
    assert process.returncode != 0
    assert daemon.get("/v1/sessions")["sessions"] == []
    assert daemon.get("/v1/host")["memory_max_bytes"] == bound


def test_what_a_killed_replay_left_is_cleared_by_the_next(daemon: Api, tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up: agents die with it, the next run does the rest."""
    bound = daemon.get("/v1/host")["memory_max_bytes"]
    with in_the_middle(daemon, tmp_path) as process:
        process.kill()
    (left,) = daemon.get("/v1/sessions")["sessions"]
    with Cgroup.open(left["cgroup"]) as session:
        assert session.wait_empty(300)
    report = measure("agentcg", [("high", BURST)], 600, socket=daemon.path)
    assert report.runs[0].sessions[0].state == "completed"
    assert daemon.get("/v1/sessions")["sessions"] == []
    assert daemon.get("/v1/host")["memory_max_bytes"] == bound


def test_only_cgroups_of_dead_replays_are_swept(parent: Cgroup) -> None:
    """A name tells the process: that of a living one stays, and so does anything else."""
    for name in ("replay-4194305", "replay-1", "replay-x", "other"):
        parent.create(name).close()
    sweep(parent)
    assert parent.children() == ["other", "replay-1", "replay-x"]


def test_results_are_written_as_json(daemon: Api, tmp_path: Path) -> None:
    """The command writes every figure, the machine and the settings; its table is for people."""
    out = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, "-m", "agentcg.daemon.replay", "--high", "gen:3", "--speed", "1000",
         "--cpu", "0", "--limit", "2G", "--control", "all", "--json", str(out)],
        env={**os.environ, "AGENTCG_SOCKET": str(daemon.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = json.loads(out.read_bytes())
    assert data["format"] == 1
    assert [line["control"] for line in data["summary"]] == ["none", "static", "agentcg"]
    assert data["settings"]["sessions"][0]["trace"] == "generated__gen-3__g1"
    assert data["machine"]["kernel"] == os.uname().release
    assert "survived" in done.stdout


def test_starts_can_be_spread(parent: Cgroup) -> None:
    """With stagger each session starts at its own time, and its wall time counts from there."""
    settings = Settings(
        limit_bytes=600 * MIB,
        shape=Shape(speed=4, stagger_s=8),
        socket=SOCKET,
        controls=("none",),
        cgroup=parent.path,
        seed=1,
    )
    begun = time.monotonic()
    report = Campaign([("high", BURST), ("low", BURST)], settings).measure()
    lasted_s = time.monotonic() - begun
    for session in report.runs[0].sessions:
        assert session.state == "completed"
        assert session.wall_s is not None
        assert session.wall_s < lasted_s
