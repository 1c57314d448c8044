# SPDX-License-Identifier: Apache-2.0
"""A directory of policies is taken as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentcg.errors import PolicyError
from agentcg.policies import DEFAULT, check, load


def test_no_directory_and_no_files_give_the_default(tmp_path: Path) -> None:
    """A machine without policies runs with the built-in one."""
    assert load(tmp_path / "none") is DEFAULT
    assert load(tmp_path) is DEFAULT


def test_only_yaml_files_that_are_not_hidden_are_read(tmp_path: Path) -> None:
    """Editors' backups and package managers' leftovers beside a policy do no harm."""
    for name in ("README", "a.yaml~", "a.yaml.dpkg-old", ".a.yaml", "b.yml"):
        (tmp_path / name).write_text("nonsense: [")
    assert load(tmp_path) is DEFAULT


def test_one_mistake_refuses_every_file(tmp_path: Path) -> None:
    """A right file beside a wrong one is not taken either, and all mistakes are listed."""
    (tmp_path / "a.yaml").write_text("version: 1\nhost: {memory_max: 1G}\n")
    (tmp_path / "b.yaml").write_text("version: 1\nhost: {memory_max: 1.5X}\n")
    (tmp_path / "c.yaml").write_text("version: 1\nhots: {}\n")
    with pytest.raises(PolicyError) as caught:
        load(tmp_path)
    lines = caught.value.message.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["b.yaml:2:20:", "c.yaml:2:1:"]


def test_what_is_not_a_file_is_refused_without_hanging(tmp_path: Path) -> None:
    """A FIFO or a directory of a policy's name is a mistake; opening it does not block."""
    os.mkfifo(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").mkdir()
    with pytest.raises(PolicyError) as caught:
        load(tmp_path)
    assert caught.value.message.splitlines() == [
        "a.yaml: not a regular file",
        "b.yaml: not a regular file",
    ]


def test_a_dangling_link_is_an_error(tmp_path: Path) -> None:
    """A policy that cannot be read is not taken as an empty one."""
    (tmp_path / "a.yaml").symlink_to(tmp_path / "gone")
    with pytest.raises(PolicyError, match="No such file"):
        load(tmp_path)


def test_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    """A directory that is not a policy directory is refused before it is read."""
    for number in range(65):
        (tmp_path / f"{number}.yaml").touch()
    with pytest.raises(PolicyError, match="65 policy files"):
        load(tmp_path)


def test_check_takes_a_file_or_a_directory(tmp_path: Path) -> None:
    """`agentcg policy check` looks at one file before it is installed, or at all of them."""
    (tmp_path / "a.yaml").write_text("version: 1\nhost: {memory_max: 1.5X}\n")
    (tmp_path / "b.txt").write_text("version: 3\n")
    assert [mistake.where for mistake in check(tmp_path)] == ["a.yaml:2:20"]
    assert [mistake.where for mistake in check(tmp_path / "b.txt")] == ["b.txt:1:10"]
    with pytest.raises(PolicyError, match="No such file"):
        check(tmp_path / "none.yaml")
