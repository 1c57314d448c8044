# SPDX-License-Identifier: Apache-2.0
"""The scheduler's object as it is built: layouts, and what loading says where it cannot be."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from agentcg.bpf import loader, objects, scheduler
from agentcg.bpf.btf import Btf
from agentcg.bpf.loader import Object
from agentcg.bpf.scheduler_records import (
    AgentsSettingsRecord,
    BudgetSettingsRecord,
    ControlRecord,
    NodeRecord,
    SettingsRecord,
    StateRecord,
)
from agentcg.errors import BpfError


@pytest.mark.parametrize(
    ("structure", "record"),
    [
        ("agentcg_node", NodeRecord),
        ("agentcg_sched_state", StateRecord),
        ("agentcg_sched_settings", SettingsRecord),
        ("agentcg_agents_settings", AgentsSettingsRecord),
        ("agentcg_budget_settings", BudgetSettingsRecord),
        ("agentcg_sched_control", ControlRecord),
    ],
)
def test_records_mirror_the_object(structure: str, record: type[ctypes.Structure]) -> None:
    """Names, offsets and sizes of the Python records are those that the object's BTF states."""
    with Btf.of_object(objects.object_path("scheduler")) as found:
        members = [(member.name, member.offset_bytes) for member in found.members(structure)]
        assert found.size(structure) == ctypes.sizeof(record)
    assert members == [(name, getattr(record, name).offset) for name, *_ in record._fields_]


def test_every_program_has_its_object() -> None:
    """What is built is what there are sources for, and no half-written object is left."""
    assert objects.sources()
    objects.build()
    assert objects.build() == []
    assert all(path.with_suffix(".o").is_file() for path in objects.sources())
    assert not list(objects.DIRECTORY.glob("*.new"))


def test_without_clang_nothing_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without clang makes no objects and no error; loading then says how to get them."""
    (tmp_path / "x.bpf.c").write_text("int x;")
    monkeypatch.setattr(objects, "DIRECTORY", tmp_path)
    monkeypatch.setattr(objects, "CLANGS", ("no-such-clang",))
    assert objects.build() == []
    with pytest.raises(BpfError, match=r"x.bpf.o is missing; .*built without clang"):
        Object(objects.object_path("x"))


def test_an_old_libbpf_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library whose struct_ops would outlive a killed daemon is not used."""
    monkeypatch.setattr(loader, "version", lambda: (1, 3))
    with pytest.raises(BpfError, match=r"libbpf 1\.3 is older than 1\.4"):
        Object(objects.object_path("scheduler"))


def test_a_kernel_without_sched_ext_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No /sys/kernel/sched_ext: the reason names the kernel's option, nothing is loaded."""
    monkeypatch.setattr(scheduler, "SCHED_EXT", tmp_path / "absent")
    assert "CONFIG_SCHED_CLASS_EXT" in scheduler.absence()
    assert scheduler.loaded() is None
    with pytest.raises(BpfError, match="no sched_ext"):
        scheduler.Scheduler.open()


@pytest.mark.parametrize(
    ("state", "ops", "said"), [("enabled", "scx_rusty", "scx_rusty"), ("disabled", "", None)]
)
def test_a_loaded_scheduler_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, ops: str, said: str | None
) -> None:
    """Whose scheduler is in charge is read from sysfs."""
    (tmp_path / "root").mkdir()
    (tmp_path / "state").write_text(state + "\n")
    (tmp_path / "root/ops").write_text(ops + "\n")
    monkeypatch.setattr(scheduler, "SCHED_EXT", tmp_path)
    assert scheduler.loaded() == said


@pytest.mark.parametrize(("said", "switch"), [("1", "full"), ("0", "partial")])
def test_which_tasks_it_takes_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, switch: str
) -> None:
    """The kernel says whether a scheduler takes all tasks; where there is none, nothing is said."""
    (tmp_path / "root").mkdir()
    (tmp_path / "state").write_text("enabled\n")
    (tmp_path / "root/ops").write_text("agentcg\n")
    (tmp_path / "switch_all").write_text(said + "\n")
    monkeypatch.setattr(scheduler, "SCHED_EXT", tmp_path)
    assert scheduler.switch() == switch
    (tmp_path / "state").write_text("disabled\n")
    assert scheduler.switch() is None


def test_a_kernel_that_leaves_agents_nothing_beside_others_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the part of each CPU that sched_ext keeps, the watchdog would take it out."""
    monkeypatch.setattr(scheduler, "SCHED_EXT", tmp_path)
    monkeypatch.setattr(scheduler, "absence", lambda: "")
    monkeypatch.setattr(scheduler.arrivals, "NEEDED", ("ext_server_that_nobody_has",))
    with pytest.raises(BpfError, match="ext_server_that_nobody_has"):
        scheduler.Scheduler.open(agents_in=1)
