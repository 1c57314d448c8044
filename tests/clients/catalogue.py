# SPDX-License-Identifier: Apache-2.0
"""The real clients: where they come from, how each is started, and what it needs to stay quiet.

Keys are dummies; telemetry, updates and everything else that looks for a network is off. There is
none anyway: clients run in a network namespace that has a loopback only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MODEL = "http://127.0.0.1:8765"
PROMPT = "Run what you are told."
DRIVERS = Path(__file__).parent / "drivers"


@dataclass(frozen=True)
class Place:
    """Folders of one run: where the client is installed, its home, and where it works."""

    installed: Path
    home: Path
    work: Path


@dataclass(frozen=True)
class Client:
    """A client. `packages` are pinned; `label`: of its session, where nothing else tells it."""

    name: str
    packages: tuple[str, ...]
    argv: Callable[[Place], list[str]]
    env: Callable[[Place], dict[str, str]] = field(default=lambda place: {})
    prepare: Callable[[Place], None] = field(default=lambda place: None)
    npm: bool = False
    python: str = "3.11"
    label: str | None = None
    finish: str | None = None
    delay_s: float = 0.05
    parallel: bool = True
    persistent: bool = False
    """Whether its shell stays: what ends the shell would end the client's session, too."""


def _openai(place: Place) -> dict[str, str]:
    return {"OPENAI_API_KEY": "dummy", "OPENAI_BASE_URL": f"{MODEL}/v1",
            "OPENAI_API_BASE": f"{MODEL}/v1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # fmt: skip


def _claude_settings(place: Place) -> None:
    """Hooks on every call, which must not be taken for calls."""
    hook = {"hooks": [{"type": "command", "command": "cat > /dev/null", "timeout": 5}]}
    (place.home / ".claude").mkdir()
    settings = {"hooks": {"PreToolUse": [{"matcher": "*", **hook}],
                          "PostToolUse": [{"matcher": "*", **hook}],
                          "SessionStart": [hook]}}  # fmt: skip
    (place.home / ".claude/settings.json").write_text(json.dumps(settings))


def _codex_config(place: Place) -> None:
    (place.home / ".codex").mkdir()
    (place.home / ".codex/config.toml").write_text(
        'model = "model"\nmodel_provider = "scripted"\napproval_policy = "never"\n'
        "check_for_update_on_startup = false\n"
        "[analytics]\nenabled = false\n"
        '[model_providers.scripted]\nname = "scripted"\nwire_api = "responses"\n'
        f'base_url = "{MODEL}/v1"\nenv_key = "DUMMY_KEY"\nsupports_websockets = false\n'
        f'[projects."{place.work}"]\ntrust_level = "trusted"\n'
    )


def _codex(place: Place, sandbox: str) -> list[str]:
    return [
        str(place.installed / "node_modules/.bin/codex"), "exec", "--json",
        "--skip-git-repo-check", "--sandbox", sandbox,
        *("--disable", "plugins", "--disable", "remote_plugin", "--disable", "apps"), PROMPT,
    ]  # fmt: skip


def _driver(place: Place, name: str, *arguments: str) -> list[str]:
    return [str(place.installed / "bin/python"), str(DRIVERS / f"{name}_driver.py"), *arguments]


CLAUDE_ENV = {
    "ANTHROPIC_BASE_URL": MODEL, "ANTHROPIC_API_KEY": "dummy-key", "IS_SANDBOX": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1",
}  # fmt: skip
MINI_ENV = {
    "MSWEA_CONFIGURED": "true", "MSWEA_SILENT_STARTUP": "1",
    "MSWEA_COST_TRACKING": "ignore_errors",
}  # fmt: skip
_CODEX = ("@openai/codex@0.169.0",)
_OPENHANDS = ("openhands-sdk==1.58.0", "openhands-tools==1.58.0")
_LANGGRAPH = ("langgraph==1.2.22", "langchain==1.4.7", "langchain-openai")

CLIENTS = {
    client.name: client
    for client in (
        Client(
            "claude-code", ("@anthropic-ai/claude-code@2.1.328",), npm=True,
            argv=lambda place: [
                str(place.installed / "node_modules/.bin/claude"), "-p", PROMPT,
                "--output-format", "json", "--allowedTools", "Bash", "--model", "claude-sonnet-4-5",
            ],
            env=lambda place: CLAUDE_ENV, prepare=_claude_settings,
        ),
        Client(
            "mini-swe-agent", ("mini-swe-agent==2.4.6", "mcp"),
            argv=lambda place: [
                str(place.installed / "bin/mini"), "-m", "openai/model", "-t", PROMPT, "-y",
                "-l", "0", "--exit-immediately", "-o", str(place.home / "trajectory.json"),
            ],
            env=lambda place: {**_openai(place), **MINI_ENV,
                               "MSWEA_GLOBAL_CONFIG_DIR": str(place.home / "mini")},
            finish="echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",
        ),
        Client(
            "codex", _CODEX, npm=True, argv=lambda place: _codex(place, "danger-full-access"),
            env=lambda place: {"DUMMY_KEY": "dummy"}, prepare=_codex_config,
        ),
        Client(
            "codex-sandbox", _CODEX, npm=True, argv=lambda place: _codex(place, "workspace-write"),
            env=lambda place: {"DUMMY_KEY": "dummy"}, prepare=_codex_config,
        ),
        Client(
            "langgraph", _LANGGRAPH, label="langgraph", env=_openai,
            argv=lambda place: _driver(place, "langgraph", "node", str(place.work)),
        ),
        Client(
            "langgraph-shell", _LANGGRAPH, label="langgraph", env=_openai, delay_s=0.6,
            argv=lambda place: _driver(place, "langgraph", "middleware", str(place.work)),
            parallel=False, persistent=True,
        ),
        Client(
            "openhands-tmux", _OPENHANDS, python="3.12", label="openhands", delay_s=0.2,
            env=_openai, argv=lambda place: _driver(place, "openhands", "tmux", str(place.work)),
            parallel=False, persistent=True,
        ),
        Client(
            "openhands-pty", _OPENHANDS, python="3.12", label="openhands", delay_s=0.6, env=_openai,
            argv=lambda place: _driver(place, "openhands", "subprocess", str(place.work)),
            parallel=False, persistent=True,
        ),
        Client(
            "swe-rex", ("swe-rex==1.4.0",), label="swe-rex", delay_s=0.2, env=_openai,
            argv=lambda place: _driver(place, "swerex", str(place.work)),
            parallel=False, persistent=True,
        ),
    )
}  # fmt: skip
