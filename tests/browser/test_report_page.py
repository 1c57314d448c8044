# SPDX-License-Identifier: Apache-2.0
"""The page of `agentcg report` as a browser sees it; needs chromium (`make browser`)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from agentcg.daemon.messages import Curve, Point
from agentcg.daemon.report.page import page
from agentcg.daemon.report.recording import RecordedCall, Recording, Sample
from support.examples import MIB, NOW, a_call, ended

POINTS = [Point(t_s=t / 10, memory_bytes=t * MIB, cpu_s=t / 10) for t in range(1, 121)]
RECORDING = Recording(
    calls=[
        RecordedCall(
            call=ended(a_call()),
            curve=Curve(call="k3f9a2b7c1", begun_at=NOW - 12, gap_s=0.1, points=POINTS),
        )
    ],
    samples=[
        Sample(time=NOW - 16 + t, session="reviewer", memory_bytes=(100 + t) * MIB,
               anon_bytes=100 * MIB, cpu_us=t * 500_000)
        for t in range(21)
    ],
)  # fmt: skip


def dom(path: Path, *more: str) -> str:
    """What the browser made of the page."""
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,900",
         f"--user-data-dir={path.parent / 'profile'}", *more, "--dump-dom", path.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout


def test_numbers_and_drawings_are_on_the_page(tmp_path: Path) -> None:
    """Figures, the timeline with one bar for each call, and the call's curve stand in the page
    as the browser has it."""
    path = tmp_path / "report.html"
    path.write_text(page(RECORDING, "reviewer"))
    shown = dom(path)
    figures = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", shown))
    assert figures["duration"] == "20s"
    assert figures["calling"] == "12s (60%)"
    assert figures["memory peak"] == "120M"
    assert figures["memory average"] == "110M"
    assert figures["peak to average"] == "1.09"
    assert shown.count('class="call"') == 1
    assert shown.count('<svg class="curve"') == 1
    assert 'class="memory"' in shown


def test_it_is_painted(tmp_path: Path) -> None:
    """The screenshot is a picture with something on it, not an empty page."""
    path, picture = tmp_path / "report.html", tmp_path / "report.png"
    path.write_text(page(RECORDING, "reviewer"))
    dom(path, f"--screenshot={picture}")
    empty = tmp_path / "empty.html"
    empty.write_text("<!doctype html>")
    dom(empty, f"--screenshot={tmp_path / 'empty.png'}")
    assert picture.stat().st_size > 3 * (tmp_path / "empty.png").stat().st_size
