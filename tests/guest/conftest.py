# SPDX-License-Identifier: Apache-2.0
"""Settings of all tests in the guest."""

from __future__ import annotations

import compileall
import os
import subprocess
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

import agentcg

SCHEDULER_MINUTES = 12.0  # what the first guest, which has sched_ext, has to do besides


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the project once, as `pip install` does.

    The daemon's unit cannot write where it is installed, so it would do so at every start.
    """
    compileall.compile_dir(Path(agentcg.__file__).parent, quiet=1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deal",
        action="store_true",
        help="run each file that depends on no kernel in one of the guests alone, not in all",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "any_kernel(minutes): the same on every kernel, and takes so long; see --deal"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --deal: leave to the other guests what is theirs."""
    if not config.getoption("--deal"):
        return
    number, guests = map(int, os.environ.get("AGENTCG_GUEST_SHARE", "0/1").split("/"))
    minutes: dict[Path, float] = {}
    for item in items:
        if marker := item.get_closest_marker("any_kernel"):
            minutes[item.path] = marker.kwargs["minutes"]
    theirs = minutes.keys() - dealt(minutes, guests)[number]
    config.hook.pytest_deselected(items=[item for item in items if item.path in theirs])
    items[:] = [item for item in items if item.path not in theirs]


def dealt(minutes: Mapping[Path, float], guests: int) -> list[set[Path]]:
    """The files of each guest: the longest first, to the one that has least to do."""
    shares: list[set[Path]] = [set() for _ in range(guests)]
    taken = [SCHEDULER_MINUTES] + [0.0] * (guests - 1)
    for path in sorted(minutes, key=lambda path: (-minutes[path], path)):
        least = taken.index(min(taken))
        shares[least].add(path)
        taken[least] += minutes[path]
    return shares


@pytest.fixture(scope="module", autouse=True)
def _no_daemon() -> None:
    """A file begins without a daemon that another one left: it may hold what the file is to load,
    and a drop-in that is gone counts until systemd is told."""
    for words in (["daemon-reload"], ["stop", "agentcgd.service"]):
        subprocess.run(["systemctl", *words], check=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure is shown with what the daemon had to say."""
    report = yield
    if report.failed:
        words = [
            "journalctl",
            "--unit=agentcgd",
            "--lines=40",
            "--no-pager",
            "--output=short-precise",
        ]
        journal = subprocess.run(words, capture_output=True, text=True, check=False)
        report.sections.append(("journal of agentcgd", journal.stdout))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What fails and has another try is shown at once: a summary tells only of its last one."""
    if report.outcome == "rerun":
        print(f"\n{report.nodeid} failed at {report.when} and is run again:\n{report.longreprtext}")
        for title, text in report.sections:
            print(f"--- {title} ---\n{text}")
