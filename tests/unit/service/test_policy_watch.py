# SPDX-License-Identifier: Apache-2.0
"""Changes of policy files are noticed, wherever the directory comes from and goes to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentcg.daemon.service.host.policy_watch import PolicyWatch


class Watching:
    """A watch on a directory that need not be there, and how often it told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._told = asyncio.Event()
        self.count = 0
        self.watch = PolicyWatch(directory, self._tell)

    def _tell(self) -> None:
        self.count += 1
        self._told.set()

    async def tells(self) -> None:
        """Wait until it tells again; fails the test if it does not."""
        async with asyncio.timeout(120):
            await self._told.wait()
        self._told.clear()


@pytest.fixture
async def watching(tmp_path: Path) -> AsyncIterator[Watching]:
    watching = Watching(tmp_path / "agentcg" / "policies.d")
    watching.watch.start()
    assert watching.watch.missing is None
    yield watching
    watching.watch.close()


async def test_every_kind_of_change(watching: Watching) -> None:
    """A directory that is made, a file that is made, changed, renamed, moved in, made readable
    and deleted, and the directory that goes and comes again: each is told."""
    directory = watching.directory
    directory.parent.mkdir()
    await watching.tells()
    directory.mkdir()
    await watching.tells()
    file = directory / "a.yaml"
    file.write_text("version: 1\n")
    await watching.tells()
    with file.open("a") as stream:
        stream.write("# more\n")
    await watching.tells()
    file.rename(directory / "b.yaml")
    await watching.tells()
    elsewhere = directory.parent / "c.yaml"
    elsewhere.write_text("version: 1\n")
    await watching.tells()
    elsewhere.rename(directory / "c.yaml")
    await watching.tells()
    (directory / "c.yaml").chmod(0o600)
    await watching.tells()
    for left in directory.iterdir():
        left.unlink()
    await watching.tells()
    directory.rmdir()
    await watching.tells()
    directory.mkdir()
    await watching.tells()
    (directory / "d.yaml").touch()
    await watching.tells()


async def test_many_changes_at_once_are_told_once(watching: Watching) -> None:
    """A package manager that unpacks files causes one reload, not one for each write."""
    watching.directory.mkdir(parents=True)
    await watching.tells()
    before = watching.count
    for number in range(50):
        (watching.directory / f"{number}.yaml").write_text("version: 1\n")
    await watching.tells()
    await asyncio.sleep(0.5)
    assert watching.count == before + 1


async def test_changes_without_an_end_are_told_all_the_same(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is written all the time does not keep what is in it from being read."""
    monkeypatch.setattr("agentcg.daemon.service.host.policy_watch.LONGEST_S", 0.3)
    watching.directory.mkdir(parents=True)
    await watching.tells()
    told = asyncio.create_task(watching.tells())
    while not told.done():
        (watching.directory / "a.yaml").write_text("version: 1\n")
        await asyncio.sleep(0.05)
    await told


async def test_after_close_nothing_is_told(watching: Watching) -> None:
    """A daemon that stops is not disturbed any more, and not ended by a late signal."""
    watching.directory.mkdir(parents=True)
    await watching.tells()
    before = watching.count
    watching.watch.close()
    (watching.directory / "a.yaml").touch()
    await asyncio.sleep(0.5)
    assert watching.count == before
