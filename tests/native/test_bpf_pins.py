# SPDX-License-Identifier: Apache-2.0
"""Pins: made once, complete or absent, found again by whoever comes next."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from ctypes import byref, c_uint32, sizeof
from pathlib import Path

import pytest

from agentcg.bpf import Accounting, compile, libbpf, pins, records
from agentcg.bpf.btf import Btf
from agentcg.bpf.log import essence
from agentcg.bpf.tunables import Tunables
from agentcg.errors import BpfError
from bpf_support import drain, leaf, pin_root


@pytest.fixture
def root() -> Iterator[Path]:
    with pin_root() as path:
        yield path


def _start(script: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def program_of(link: Path) -> int:
    """The kernel's id of the program of a pinned link."""
    descriptor = libbpf.get_pinned(link)
    info = (c_uint32 * 32)()  # struct bpf_link_info: type, id, prog_id
    size = c_uint32(sizeof(info))
    libbpf.checked(libbpf.library().bpf_obj_get_info_by_fd(descriptor, info, byref(size)), "link")
    os.close(descriptor)
    return int(info[2])


def test_three_programs_see_what_one_may_miss(root: Path) -> None:
    """Where tracepoints may be preempted (since 7.0) execs and exits are seen by several programs
    each, not by one that is attached repeatedly: the kernel runs no program within itself."""
    programs = 3 if int(os.uname().release.split(".")[0]) >= 7 else 1
    accounting = Accounting.open(root)
    links = sorted(root.glob("*/link_*"))
    assert len({program_of(link) for link in links}) == len(links)
    for name in ("exec", "exit", "ran", "gone"):
        assert len([link for link in links if link.name.startswith(f"link_on_{name}")]) == programs
    accounting.close()


def test_killed_daemon_loses_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens while no daemon lives is counted, and its events wait for the next one."""
    with leaf() as made:
        daemon = _start(
            "import sys, time; from agentcg.bpf import Accounting\n"
            f"a = Accounting.open({str(root)!r}); a.track({made.id})\n"
            "print('ready', flush=True); time.sleep(60)\n"
        )
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "ready\n"
        daemon.send_signal(signal.SIGKILL)
        daemon.communicate()
        made.run("/bin/sh", "-c", "exit 3")

        monkeypatch.setattr(pins, "_run_helper", None)  # nothing is compiled again
        accounting = Accounting.open(root)
        assert accounting.tracked() == {made.id}
        counters = accounting.untrack(made.id)
        assert counters is not None
        assert (counters.execs, counters.exits, counters.first_exit_status) == (1, 1, 3)
        assert [type(e).__name__ for e in drain(accounting)] == ["ExecEvent", "ExitEvent"]
        accounting.close()


def test_events_lost_are_counted(root: Path) -> None:
    """A full ring drops events, never counts: what is missing is known to the last event."""
    accounting = Accounting.open(root, tunables=Tunables(ring_pages=1))
    with leaf() as made:
        accounting.track(made.id)
        line = ["x" * 300]
        made.run("/bin/sh", "-c", "for n in $(seq 15); do /bin/true $0; done; exit", *line)

        counters = accounting.untrack(made.id)
        read = len(drain(accounting))
        assert counters is not None
        assert (counters.execs, counters.exits) == (17, 17)
        assert 0 < counters.events_lost == 17 - read
        assert accounting.lost == counters.events_lost
    accounting.close()


def test_full_map_refuses(root: Path) -> None:
    """One leaf too many is an error that says so; nothing tracked is evicted for it."""
    accounting = Accounting.open(root, tunables=Tunables(accounts=2))
    accounting.track(1)
    accounting.track(2)
    with pytest.raises(BpfError, match="cgroup 3 cannot be tracked"):
        accounting.track(3)
    assert accounting.tracked() == {1, 2}
    accounting.untrack(1)
    accounting.track(3)
    accounting.close()


def test_sets_of_other_versions_are_removed(root: Path) -> None:
    """Opening another version or size removes the old set, and with it its programs."""
    Accounting.open(root, tunables=Tunables(accounts=10)).close()
    (old,) = root.iterdir()
    Accounting.open(root, tunables=Tunables(accounts=20)).close()
    (new,) = root.iterdir()
    assert new != old


def test_half_made_set_is_never_used(root: Path) -> None:
    """What a helper that died left behind is thrown away."""
    key = pins.key_of(Tunables())
    (root / f"new-{key}").mkdir(parents=True)
    accounting = Accounting.open(root)
    assert [path.name for path in root.iterdir()] == [key]
    accounting.close()


def test_daemons_that_start_together_share_one_set(root: Path) -> None:
    """The program is compiled once, whoever comes first."""
    script = f"from agentcg.bpf import Accounting\nAccounting.open({str(root)!r}).track({{}})"
    starting = [_start(script.format(n)) for n in (1, 2, 3)]
    assert [process.wait() for process in starting] == [0, 0, 0]
    accounting = Accounting.open(root)
    assert accounting.tracked() == {1, 2, 3}
    accounting.close()


@pytest.mark.parametrize("depth", [0, 8])
def test_depth_is_a_choice(root: Path, depth: int) -> None:
    """The levels below a leaf that count to it can be any number within the bounds."""
    with leaf() as made:
        accounting = Accounting.open(root, tunables=Tunables(depth=depth))
        accounting.track(made.id)
        below = made
        for level in range(9):
            below.run("/bin/true")
            below = below.child(f"level{level}")

        counters = accounting.untrack(made.id)
        assert counters is not None
        assert counters.execs == depth + 1
        accounting.close()


def test_scope_limits_what_is_seen(root: Path) -> None:
    """With a scope, leaves below it are seen, also births from outside; others are not."""
    with leaf() as inside, leaf() as outside:
        below = inside.child("below")
        accounting = Accounting.open(root, scope=inside.path)
        accounting.track(below.id)
        accounting.track(outside.id)
        below.run("/bin/true")
        below.clone_into(status=1)
        outside.run("/bin/true")

        seen, unseen = accounting.untrack(below.id), accounting.untrack(outside.id)
        assert seen is not None
        assert unseen is not None
        assert (seen.placed, seen.forks, seen.execs, seen.exits) == (1, 1, 1, 2)
        assert (unseen.execs, unseen.exits) == (0, 0)
        accounting.close()


def test_scope_is_that_of_the_last_opening(root: Path) -> None:
    """A process that opens without a scope is not bound by that of an earlier one."""
    with leaf() as inside, leaf() as outside:
        Accounting.open(root, scope=inside.path).close()
        accounting = Accounting.open(root)
        accounting.track(outside.id)
        outside.run("/bin/true")

        counters = accounting.untrack(outside.id)
        assert counters is not None
        assert counters.exits == 1
        accounting.close()


def test_unpin_leaves_nothing(root: Path) -> None:
    """After `unpin` neither pins nor their directory exist."""
    Accounting.open(root).unpin()
    assert not root.exists()


def test_mirrors_match_the_loaded_program(root: Path) -> None:
    """Offsets and sizes of the Python records are those in the BTF of the loaded program."""
    accounting = Accounting.open(root)
    (pinned,) = root.iterdir()
    fd = libbpf.get_pinned(pinned / "map_accounts")
    with Btf.loaded(libbpf.btf_id_of_map(fd)) as loaded:
        for name, mirror in (
            ("agentcg_account", records.AccountRecord),
            ("agentcg_curve", records.CurveRecord),
            ("agentcg_point", records.PointRecord),
            ("agentcg_event", records.EventRecord),
            ("agentcg_exec", records.ExecRecord),
        ):
            ours = [(field[0], getattr(mirror, field[0]).offset) for field in mirror._fields_]
            theirs = [(member.name, member.offset_bytes) for member in loaded.members(name)]
            assert ours == theirs
            assert ctypes.sizeof(mirror) == loaded.size(name)
    os.close(fd)
    accounting.close()


def test_time_limit_leaves_nothing(root: Path) -> None:
    """A helper that takes too long is ended, said to be so, and its work is not used."""
    with pytest.raises(BpfError, match="not compiled and loaded within"):
        Accounting.open(root, timeout_s=0.05)
    Accounting.open(root).close()


def test_without_bcc(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bcc does not work, the error says so and what to install."""
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/libbcc.py").write_text("")
    (tmp_path / "bcc/__init__.py").write_text("raise OSError('libbcc.so.0: not there')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BpfError, match=r"libbcc\.so\.0: not there.*python3-bpfcc"):
        Accounting.open(root)
    assert list(root.iterdir()) == []


def test_without_permission(root: Path) -> None:
    """A user without rights gets an error that names the directory."""
    root.mkdir(mode=0o700)
    script = f"from agentcg.bpf import Accounting\nAccounting.open({str(root)!r})"
    user = subprocess.run(
        [sys.executable, "-c", script], user=65534, capture_output=True, text=True, check=False
    )
    assert "BpfError" in user.stderr
    assert str(root) in user.stderr


def test_without_bpffs(tmp_path: Path) -> None:
    """A directory that is on another file system is refused with the mount that is needed."""
    with pytest.raises(BpfError, match="mount -t bpf bpf"):
        Accounting.open(tmp_path / "pins")


def test_compiler_errors_are_short(capfd: pytest.CaptureFixture[str]) -> None:
    """Of the compiler's log only the errors themselves are kept."""
    with pytest.raises(BpfError):
        compile.load_program({"DEPTH": 4}, "accounting.c")
    reason = essence(capfd.readouterr().err)
    assert "OFF_TASK_CGROUPS" in reason
    assert len(reason) < 700
