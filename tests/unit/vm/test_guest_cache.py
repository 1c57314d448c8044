# SPDX-License-Identifier: Apache-2.0
"""The cache holds whole things or nothing."""

import multiprocessing
import time
from pathlib import Path

import pytest
from guestvm import cache
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGENTCG_GUEST_CACHE", str(tmp_path))
    return tmp_path


def fill(directory: Path) -> None:
    (directory / "file").write_text("whole")


def test_the_directory_follows_the_environment() -> None:
    """Our own variable wins over XDG's, XDG's over the home directory."""
    everything = {"AGENTCG_GUEST_CACHE": "/a", "XDG_CACHE_HOME": "/x", "HOME": "/h"}
    assert cache.cache_directory(everything) == Path("/a")
    assert cache.cache_directory({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/agentcg-guest")
    assert cache.cache_directory({"HOME": "/h"}) == Path("/h/.cache/agentcg-guest")


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_keys_tell_contents_apart(one: list[str], other: list[str]) -> None:
    """Equal parts have equal keys; moving a character from one part to the next changes it."""
    assert (cache.content_key(one) == cache.content_key(other)) == (one == other)


def test_keys_follow_files(tmp_path: Path) -> None:
    """A file counts by its contents, not by its name."""
    (tmp_path / "a").write_text("same")
    (tmp_path / "b").write_text("same")
    assert cache.content_key([tmp_path / "a"]) == cache.content_key([tmp_path / "b"])
    (tmp_path / "b").write_text("changed")
    assert cache.content_key([tmp_path / "a"]) != cache.content_key([tmp_path / "b"])


def test_an_entry_is_built_once(own_cache: Path) -> None:
    """The second use finds the first one's work."""
    built: list[Path] = []

    def build(directory: Path) -> None:
        built.append(directory)
        fill(directory)

    first = cache.entry("root", "k", "a thing", build)
    assert cache.entry("root", "k", "a thing", build) == first
    assert len(built) == 1
    assert first == own_cache / "root-k"
    assert (first / "file").read_text() == "whole"


def test_a_failed_build_leaves_nothing(own_cache: Path) -> None:
    """What an exception interrupts is removed, and built anew the next time."""

    def fail(directory: Path) -> None:
        fill(directory)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.entry("root", "k", "a thing", fail)
    assert not list(own_cache.glob("*root-k*"))
    assert (cache.entry("root", "k", "a thing", fill) / "file").exists()


def test_a_half_written_entry_is_never_used(own_cache: Path) -> None:
    """What a killed builder left under the name it builds in is thrown away."""
    (own_cache / "partial.root-k").mkdir()
    (own_cache / "partial.root-k/half").write_text("ha")
    entry = cache.entry("root", "k", "a thing", fill)
    assert [path.name for path in entry.iterdir()] == ["file"]
    assert not (own_cache / "partial.root-k").exists()


def _count_builds(results: "multiprocessing.Queue[int]") -> None:
    builds = 0

    def slow(directory: Path) -> None:
        nonlocal builds
        builds += 1
        time.sleep(0.2)
        fill(directory)

    assert (cache.entry("root", "k", "a thing", slow) / "file").read_text() == "whole"
    results.put(builds)


def test_concurrent_builders_wait_for_the_first() -> None:
    """Of several processes that want the same entry, one builds it."""
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=_count_builds, args=(results,)) for _ in range(4)]
    for process in processes:
        process.start()
    assert sum(results.get(timeout=120) for _ in processes) == 1
    for process in processes:
        process.join()


def test_old_entries_go() -> None:
    """The newest stay, unless nobody used them for two weeks."""
    now = 10_000_000.0
    day = 86400
    entries = [(Path(str(age)), now - age * day) for age in (30, 1, 20, 3, 2)]
    assert cache.stale(entries, keep=2, now_s=now) == [Path("3"), Path("20"), Path("30")]
    assert cache.stale(entries, keep=9, now_s=now) == [Path("20"), Path("30")]
