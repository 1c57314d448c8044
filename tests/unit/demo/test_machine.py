# SPDX-License-Identifier: Apache-2.0
"""Where `make run` runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demo.machine import Machine, NotHere, choose

ABLE = Machine(
    root=True,
    systemd=True,
    controllers=frozenset({"cpu", "io", "memory", "pids"}),
    installed=False,
)


def test_an_able_host_is_taken() -> None:
    """With everything there the host itself is shown, and the reason says so."""
    where, why = choose(ABLE, None)
    assert where == "host"
    assert "nothing is left behind" in why


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (replace(ABLE, root=False), "root"),
        (replace(ABLE, systemd=False), "systemd does not run"),
        (replace(ABLE, controllers=None), "no cgroup v2"),
        (replace(ABLE, controllers=frozenset({"cpu", "pids"})), "no memory controller"),
        (replace(ABLE, installed=True), "left alone"),
    ],
)
def test_anything_missing_leads_to_the_guest_and_is_named(machine: Machine, reason: str) -> None:
    """The fallback says what was in the way; asked for by name, the host is an error instead."""
    where, why = choose(machine, None)
    assert where == "guest"
    assert reason in why
    assert choose(machine, "guest") == ("guest", "as asked")
    with pytest.raises(NotHere, match=reason):
        choose(machine, "host")


def test_a_host_is_read_from_its_files(tmp_path: Path) -> None:
    """systemd, cgroup v2 and an installation are recognised by files of their own."""
    assert Machine.look(tmp_path).controllers is None
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    found = Machine.look(tmp_path)
    assert found.controllers == {"cpu", "memory", "pids"}
    assert (found.systemd, found.installed) == (True, False)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/agentcgd.service").touch()
    assert Machine.look(tmp_path).installed
