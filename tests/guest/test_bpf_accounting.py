# SPDX-License-Identifier: Apache-2.0
"""Accounting on a stock kernel: the native specification, OOM kills, least privilege."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.bpf import Accounting, OomEvent, probe
from bpf_support import Leaf, drain, leaf, pin_root

NATIVE = Path(__file__).parents[1] / "native"
# What the unit grants, and what it takes away, as far as it could matter to BPF.
HARDENING = (
    "CapabilityBoundingSet=CAP_BPF CAP_PERFMON",
    "SystemCallFilter=@system-service bpf",
    "SystemCallErrorNumber=EPERM",
    "ProtectSystem=strict",
    "ProtectKernelTunables=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectControlGroups=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "ProtectHome=yes",
    "MemoryDenyWriteExecute=yes",
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictNamespaces=yes",
)
OPEN = """
import sys
from agentcg.bpf import Accounting
from agentcg.errors import BpfError
try:
    accounting = Accounting.open(sys.argv[1])
    accounting.track(1)
    print(accounting.untrack(1) is not None and accounting.draws_curves)
except BpfError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with pin_root() as path:
        yield path


@pytest.fixture(scope="module")
def accounting(root: Path) -> Iterator[Accounting]:
    opened = Accounting.open(root)
    yield opened
    opened.close()


def _confined(root: Path, *properties: str) -> str:
    """What OPEN prints as a unit with these properties that may write just its directory."""
    root.mkdir()
    options = [f"--property={each}" for each in (f"ReadWritePaths={root}", *properties)]
    command = ["systemd-run", "-q", "--wait", "--pipe", *options, sys.executable, "-c", OPEN]
    done = subprocess.run([*command, str(root)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr


@pytest.mark.parametrize(
    "selected",
    [
        ["test_bpf_accounting.py"],
        ["test_bpf_pins.py", "-k", "killed or lost or mirrors or scope_limits or programs_see"],
    ],
    ids=["counts", "pins"],
)
def test_native_specification_holds(selected: list[str]) -> None:
    """What is specified on the developer's kernel holds on this one."""
    file, *options = selected
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(NATIVE / file), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " skipped" not in done.stdout


def test_every_need_is_met() -> None:
    """A stock kernel and distribution lack nothing that accounting needs."""
    assert [feature for feature in probe() if not feature.available] == []


def _limited(made: Leaf) -> None:
    (made.path / "memory.max").write_text(str(32 << 20))
    (made.path / "memory.swap.max").write_text("0")


def test_oom_victim_is_named(accounting: Accounting) -> None:
    """The process that the OOM killer chose is counted and named, as memory.events counts it."""
    with leaf() as made:
        _limited(made)
        accounting.track(made.id)
        assert made.python("x = bytearray(64 << 20)") == -9

        counters = accounting.untrack(made.id)
        assert counters is not None
        assert counters.oom_kills == 1
        assert counters.oom_victim == f"{Path(sys.executable).name}[{counters.first_pid}]"
        assert counters.first_exit_status == 137
        victims = [event.pid for event in drain(accounting) if isinstance(event, OomEvent)]
        assert victims == [counters.first_pid]
        assert "oom_kill 1\n" in (made.path / "memory.events").read_text()


def test_first_victim_of_a_group_is_the_one_named(accounting: Accounting) -> None:
    """With memory.oom.group all processes of the leaf are victims; the chosen one is named."""
    with leaf() as made:
        _limited(made)
        (made.path / "memory.oom.group").write_text("1")
        accounting.track(made.id)
        sleeper = made.start("/bin/sleep", "100")
        made.python("x = bytearray(64 << 20)")
        assert sleeper.wait() == -9

        counters = accounting.untrack(made.id)
        assert counters is not None
        assert counters.oom_kills == 2
        assert counters.oom_victim is not None
        assert counters.oom_victim.startswith(Path(sys.executable).name)


def test_opens_with_least_privilege(root: Path) -> None:
    """CAP_BPF and CAP_PERFMON suffice, under the hardening of the unit, to compile and attach."""
    own = root.with_name(f"{root.name}-confined")
    assert _confined(own, *HARDENING) == "True"
    assert [len(path.name) for path in own.iterdir()] == [16]
    subprocess.run(["rm", "-r", own], check=True)


@pytest.mark.parametrize("held", ["CAP_BPF", "CAP_PERFMON"])
def test_one_capability_alone_is_refused(root: Path, held: str) -> None:
    """With just one of the two there is an error that says so, and nothing is left behind."""
    own = root.with_name(f"{root.name}-{held.lower().replace('_', '-')}")
    assert "not permitted" in _confined(own, f"CapabilityBoundingSet={held}").lower()
    own.rmdir()  # refused unless it is empty
