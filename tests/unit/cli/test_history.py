# SPDX-License-Identifier: Apache-2.0
"""`agentcg history`: ended calls from disk, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import time

import msgspec
import pytest
from msgspec import structs

from agentcg.daemon.messages import Forecast, Foreseen, HistoryList, Quantiles, Scheduled
from support.commandline import cli
from support.examples import a_call, ended, with_account
from support.scripted_daemon import Received, ScriptedDaemon

MIB = 1 << 20
RAN = Scheduled(run_us=5, wait_us=4, waits=3, longest_wait_us=2, boosts=1)
LATEST = with_account(
    ended(a_call("bbbb"), exit_status=1, command='=cmd("x")\x1b[2J'), scheduled=RAN
)
EARLIER = with_account(ended(a_call("aaaa")), memory_peak_bytes=None)


def with_calls(daemon: ScriptedDaemon) -> ScriptedDaemon:
    daemon.on("GET", "/v1/history", HistoryList(calls=[LATEST, EARLIER], next_before=None))
    return daemon


def test_a_line_each_the_latest_last(daemon: ScriptedDaemon) -> None:
    """When it ended, how, how long it took, CPU and peak; nothing that a terminal obeys."""
    said = cli(with_calls(daemon).path, "history")
    assert said.exit_code == 0, said.output
    first, second = said.stdout.splitlines()[1:]
    assert "aaaa  reviewer  exit 0   12s  12s     -  pytest -x tests/unit" in first
    assert "bbbb  reviewer  exit 1   12s  12s  120M" in second
    assert "\x1b" not in said.stdout


def test_filters_are_sent(daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Session, tool, a part of the command, and since when, also as how long ago."""
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    with_calls(daemon)
    words = ["--session", "ci", "--tool", "Bash", "--command", "py t", "--since", "2h", "-n", "7"]
    assert cli(daemon.path, "history", *words).exit_code == 0
    query = dict(msgspec.convert(part.split("="), tuple[str, str])
                 for part in daemon.requests[-1].query.split("&"))  # fmt: skip
    since = float(query.pop("since"))
    assert query == {"session": "ci", "tool": "Bash", "command": "py+t", "limit": "7"}
    assert since == 1_000_000 - 7200
    assert cli(daemon.path, "history", "--since", "2026-03-01T14:00").exit_code == 0
    assert cli(daemon.path, "history", "--since", "yesterday").exit_code == 2
    assert cli(daemon.path, "history", "--since", "99999999d").exit_code == 0
    assert "since=0.0" in daemon.requests[-1].query


def test_pages_are_put_together(daemon: ScriptedDaemon) -> None:
    """More than the daemon lists at once is asked for page by page."""

    def page(request: Received) -> HistoryList:
        first = "before" not in request.query
        return HistoryList(calls=[LATEST if first else EARLIER], next_before=7 if first else None)

    daemon.on("GET", "/v1/history", page)
    found = json.loads(cli(daemon.path, "history", "--json", "-n", "1000").stdout)["calls"]
    assert [call["id"] for call in found] == ["aaaa", "bbbb"]
    assert "before=7" in daemon.requests[-1].query


def test_csv(daemon: ScriptedDaemon) -> None:
    """A title line, then a line each; not known is empty; no cell is taken for a formula. What the
    scheduler counted has columns of its own."""
    said = cli(with_calls(daemon).path, "history", "--csv").stdout
    first, second = csv.DictReader(io.StringIO(said))
    assert (first["id"], first["memory_peak_bytes"], first["exit_status"]) == ("aaaa", "", "0")
    assert first["ended_at"] == "2027-01-15T08:00:00.000+00:00"
    assert second["command"] == '\'=cmd("x")\\x1b[2J'
    assert (first["scheduled_boosts"], first["delayed_count"]) == ("", "")
    assert (second["scheduled_boosts"], second["scheduled_run_us"]) == ("1", "5")
    assert cli(daemon.path, "history", "--csv", "--json").exit_code == 2


def test_calibration_is_the_share_within_each_quantile(daemon: ScriptedDaemon) -> None:
    """Of two calls of 12 s one was foreseen to take less; what was killed or not foreseen counts
    nothing; the losses are in the JSON."""
    peak = Quantiles(p50=100.0, p90=200.0, p99=300.0)
    short = Foreseen(duration_s=Quantiles(p50=1.0, p90=2.0, p99=20.0), peak_bytes=peak,
                     own_calls=1, other_calls=0)  # fmt: skip
    long = structs.replace(short, duration_s=Quantiles(p50=12.0, p90=20.0, p99=30.0))
    calls = [
        structs.replace(EARLIER, foreseen=short, held_peak_bytes=150),
        structs.replace(EARLIER, foreseen=long, held_peak_bytes=400),
        structs.replace(EARLIER, foreseen=long, end_reason="oom"),
        EARLIER,
    ]
    daemon.on("GET", "/v1/history", HistoryList(calls=calls, next_before=None))
    shown = cli(daemon.path, "history", "--calibration").stdout.splitlines()
    assert shown[1].split() == ["all", "2", "50%", "50%", "100%", "0%", "50%", "50%"]
    data = json.loads(cli(daemon.path, "history", "--calibration", "--json").stdout)
    found = data["calibration"]["duration_s"]["all"]
    assert found["coverage"] == [0.5, 0.5, 1.0]
    assert found["loss"][0] == pytest.approx(0.5 * 11 / 2)


def test_a_forecast_is_told(daemon: ScriptedDaemon) -> None:
    """Of a running call what is left; of a kind what it takes; one of the two has to be named."""
    answer = Forecast(
        session="ci", call="k3f7", tool="Bash", category="test", elapsed_s=1.0, held_bytes=5,
        remaining_s=Quantiles(p50=4.2, p90=31.0, p99=58.0),
        peak_bytes=Quantiles(p50=96.0 * MIB, p90=180.0 * MIB, p99=600.0 * MIB),
        own_calls=9, other_calls=128,
    )  # fmt: skip
    daemon.on("GET", "/v1/forecast", answer)
    shown = cli(daemon.path, "forecast", "k3f7").stdout
    assert "still takes 4.2s at the median, 90% at most 31s, 99% 58s" in shown
    assert "from 9 calls of the session and 128 of others" in shown
    assert daemon.requests[-1].query == "call=k3f7"
    assert cli(daemon.path, "forecast", "-t", "Bash", "-s", "ci").exit_code == 0
    assert daemon.requests[-1].query == "session=ci&tool=Bash"
    assert cli(daemon.path, "forecast").exit_code == 2
