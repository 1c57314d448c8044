# SPDX-License-Identifier: Apache-2.0
"""`agentcg policy`: mistakes by file:line:column, and what is in force."""

from __future__ import annotations

import json
from importlib.resources import files as files_of
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agentcg.daemon.messages import PolicyFile, PolicyText
from agentcg.policies import check_text
from support.commandline import Result, cli
from support.examples import a_call, a_health, a_host, a_session
from support.scripted_daemon import ScriptedDaemon, problem

GOOD = "version: 1\n"
BAD = "version: 1\nsessions:\n  - match: {name: ci}\n    memory_max: 1.5X\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a good policy and one with a mistake in its fourth line."""
    directory = tmp_path / "policies.d"
    directory.mkdir()
    (directory / "10-good.yaml").write_text(GOOD)
    (directory / "20-bad.yaml").write_text(BAD)
    return directory


def test_good_file(files: Path) -> None:
    """Nothing to say, exit code 0, and no daemon is needed."""
    result = cli(Path("/absent"), "policy", "check", str(files / "10-good.yaml"))
    assert (result.exit_code, result.output) == (0, "")


def test_mistakes_have_a_position(files: Path) -> None:
    """Path, line and column, on standard output, for an editor to jump to; exit code 5."""
    bad = files / "20-bad.yaml"
    for asked in (bad, files):
        result = cli(Path("/absent"), "policy", "check", str(asked))
        assert result.exit_code == 5
        assert result.stdout.startswith(f"{bad}:4:17: ")
        assert "1.5X" in result.stdout
        assert result.stderr == "1 mistake\n"


def test_warnings_are_no_mistakes(files: Path) -> None:
    """They are printed with their place, and the exit code is 0."""
    odd = files / "10-good.yaml"
    odd.write_text("version: 1\nsessions: [{match: {name: '*'}, pids_max: 9}]\n")
    result = cli(Path("/absent"), "policy", "check", str(odd))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{odd}:2:27: warning: sessions[0].match.name: '*': fits")


def test_unreadable_file(files: Path) -> None:
    """Another exit code than mistakes; the other files are checked all the same."""
    result = cli(
        Path("/absent"), "policy", "check", str(files / "absent.yaml"), str(files / "20-bad.yaml")
    )
    assert result.exit_code == 1
    assert "absent.yaml: No such file" in result.stderr
    assert ":4:17:" in result.stdout


def in_force(**changes: Any) -> PolicyText:
    """The answer of a daemon with one file in force over the built-in default."""
    default = (files_of("agentcg.policies") / "default.yaml").read_text()
    site = "version: 1\nsessions:\n  - match: {name: ci}\n    memory_max: 25%\n"
    answer = PolicyText(
        source="/etc/agentcg/policies.d", error=None, warnings=[],
        files=[PolicyFile(name="50-site.yaml", text=site),
               PolicyFile(name="default.yaml", text=default)],
    )  # fmt: skip
    return replace(answer, **changes)


def test_show_what_is_in_force(daemon: ScriptedDaemon) -> None:
    """The daemon's rules, which need not be on disk any more, each with its place."""
    daemon.on("GET", "/v1/policy", in_force())
    result = cli(daemon.path, "policy", "show")
    assert result.exit_code == 0
    assert result.stdout.startswith("# in force: /etc/agentcg/policies.d\nversion: 1\n")
    sessions = result.stdout.split("\nsessions:\n")[1].splitlines()
    assert [line.split() for line in sessions[:2]] == [
        ["-", "match:", "{name:", '"ci"}', "#", "50-site.yaml:3"],
        ["memory_max:", "25%", "#", "50-site.yaml:4"],
    ]
    assert check_text(result.stdout, "shown") == []


def test_show_a_refused_policy(daemon: ScriptedDaemon) -> None:
    """That what is in the files is not what is in force is said, and exit code 5."""
    error = "20-bad.yaml:4:17: no\n20-bad.yaml:5:1: no"
    daemon.on("GET", "/v1/policy", in_force(error=error))
    result = cli(daemon.path, "policy", "show")
    assert result.exit_code == 5
    assert "# NOT TAKEN: 20-bad.yaml:4:17: no\n# NOT TAKEN: 20-bad" in result.stdout


def test_show_without_the_right_to_ask(daemon: ScriptedDaemon, files: Path) -> None:
    """Who is no administrator sees the files that it may read, and is told so."""
    (files / "20-bad.yaml").unlink()
    daemon.on("GET", "/v1/policy", problem(403, "forbidden", "uid 1000 may not"))
    daemon.on("GET", "/v1/health", a_health(policy=str(files)))
    result = cli(daemon.path, "policy", "show")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"# {files}, as it is on disk (root and group agentcg")


def test_show_a_file(files: Path) -> None:
    """Any file as the daemon would take it, without one; mistakes are the check's."""
    result = cli(Path("/absent"), "policy", "show", str(files / "10-good.yaml"))
    assert result.stdout.startswith(f"# {files}/10-good.yaml\nversion: 1\n")
    result = cli(Path("/absent"), "policy", "show", str(files))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "20-bad.yaml:4:17" in result.stderr


def explained(result: Result) -> dict[str, dict[str, tuple[str, str]]]:
    """Value and place of each setting, by kind, from `--json`."""
    assert result.exit_code == 0, result.stderr
    return {
        kind: {line["setting"]: (line["value"], line["where"]) for line in lines}
        for kind, lines in json.loads(result.stdout).items()
    }


def test_explain_what_is_made_up(tmp_path: Path) -> None:
    """Every fact that rules can ask for can be given; no daemon is needed."""
    policy = tmp_path / "p.yaml"
    policy.write_text(
        "version: 1\n"
        "sessions:\n"
        "  - match: {name: a, user: bob, uid: 7, labels: {k: v}, container: c, image: i,\n"
        "            cgroup: /g, unit: u.service, asked_priority: low}\n"
        "    memory_max: 50%\n"
        "    steps: [kill, throttle]\n"
        "    tenant: acme\n"
        "calls:\n"
        "  - match: {tool: T, command: make, category: test, priority: low}\n"
        "    memory_high: 10%\n"
        "tenants: [{match: {name: acme}, max_calls: 3}]\n"
    )
    session = ["--name=a", "--user=bob", "--uid=7", "--label=k=v", "--container=c", "--image=i",
               "--cgroup=/g", "--unit=u.service", "--priority=low"]  # fmt: skip
    call = ["--tool=T", "--command=make", "--category=test"]
    asked = ["policy", "explain", "--policy", str(policy), "--memory", "8G"]
    found = explained(cli(Path("/absent"), *asked, *session, *call, "--json"))
    assert found["session"]["memory_max"] == ("4.0G (50%)", "p.yaml:5")
    assert found["session"]["steps"] == ("throttle, kill", "p.yaml:6")
    assert found["session"]["priority"] == ("low", "asked for")
    assert found["tenant"]["max_calls"] == ("3", "p.yaml:11")
    assert found["user"]["max_calls"][0] == "max"
    assert found["call"]["linger_max"] == ("-", "-")
    assert found["session"]["adopt"][0] in ("true", "false")
    assert found["call"]["memory_high"] == ("410M (10%)", "p.yaml:10")
    for number in range(len(session)):
        others = [*session[:number], *session[number + 1 :]]
        if session[number] != "--name=a":
            without = explained(cli(Path("/absent"), *asked, *others, "--json"))
            assert without["session"]["memory_max"][0] == "max", session[number]
    shown = cli(Path("/absent"), *asked, *session)
    assert ["memory_max", "4.0G", "(50%)", "p.yaml:5"] in map(str.split, shown.stdout.splitlines())


def test_explain_a_session_and_a_call_that_are_there(daemon: ScriptedDaemon) -> None:
    """What the policy in force gives them, from the facts that the daemon keeps."""
    daemon.on("GET", "/v1/policy", in_force())
    daemon.on("GET", "/v1/host", a_host(memory_max_bytes=4 << 30, memory_total_bytes=8 << 30))
    daemon.on("GET", "/v1/sessions/ci", a_session("ci", asked_priority="high"))
    daemon.on("GET", "/v1/calls/k3f9a2b7c1", a_call(session="ci"))
    found = explained(cli(daemon.path, "policy", "explain", "--session", "ci", "--json"))
    assert found["session"]["memory_max"] == ("1.0G (25%)", "50-site.yaml:4")
    assert found["session"]["priority"] == ("high", "asked for")
    assert "call" not in found
    found = explained(cli(daemon.path, "policy", "explain", "--call", "k3f9a2b7c1", "--json"))
    assert found["call"]["memory_high"][0] == "512M (50%)"
    assert found["session"]["memory_max"][1] == "50-site.yaml:4"


@pytest.mark.parametrize(
    "wrong",
    [
        ["--label", "x"],
        ["--label", "=x"],
        ["--priority", "hihg"],
        ["--category", "x", "--tool", "y"],
    ],
)
def test_explain_refuses_what_cannot_be(tmp_path: Path, wrong: list[str]) -> None:
    """A fact that no session or call can have is a usage error that names it."""
    (tmp_path / "p.yaml").write_text("version: 1\n")
    result = cli(Path("/absent"), "policy", "explain", "--policy", str(tmp_path), *wrong)
    assert result.exit_code == 2
    assert wrong[0] in result.stderr


def test_show_the_default() -> None:
    """The built-in policy, which passes its own check."""
    result = cli(Path("/absent"), "policy", "show", "--default")
    assert result.exit_code == 0
    assert "sessions:" in result.stdout


SNAPSHOT = Path(__file__).parents[3] / "docs" / "examples" / "snapshot.json"


def test_a_policy_is_tried_on_a_snapshot(tmp_path: Path) -> None:
    """What sessions, calls, users and the ladder would get, as a table and as JSON."""
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\nsessions: [{match: {user: ci}, priority: low}]\n")
    result = cli(Path("/absent"), "policy", "test", str(policy), str(SNAPSHOT), "--for", "1m")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("2.0G for all sessions, 38M of it free\n")
    words = [line.split() for line in result.stdout.splitlines()]
    assert ["nightly", "low", "100", "max", "max", "100M", "-", "default.yaml"] in [
        [*line[:7], line[7].split(":")[0]] for line in words if len(line) == 8
    ]
    assert any(line[:2] == ["at", "once"] for line in words)
    result = cli(Path("/absent"), "policy", "test", str(policy), str(SNAPSHOT), "--json")
    data = json.loads(result.stdout)
    assert [call["id"] for call in data["calls"]] == ["build", "lint", "tests"]


def test_what_cannot_be_tried(tmp_path: Path) -> None:
    """A mistake in the policy ends with 1, one in the snapshot with 2, each with its place."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nhots: {}\n")
    result = cli(Path("/absent"), "policy", "test", str(bad), str(SNAPSHOT))
    assert (result.exit_code, "bad.yaml:2:1" in result.stderr) == (1, True)
    good, broken = tmp_path / "good.yaml", tmp_path / "snapshot.json"
    good.write_text("version: 1\n")
    broken.write_text('{"host": {"memory_total_bytes": "4G"}}')
    result = cli(Path("/absent"), "policy", "test", str(good), str(broken))
    assert (result.exit_code, "host.memory_total_bytes" in result.stderr) == (2, True)
    result = cli(Path("/absent"), "policy", "test", str(good), str(tmp_path / "none.json"))
    assert (result.exit_code, "none.json" in result.stderr) == (2, True)
