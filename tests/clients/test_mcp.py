# SPDX-License-Identifier: Apache-2.0
"""`agentcg mcp` in Claude Code: the model asks for room, and reads its feedback."""

from __future__ import annotations

import json
from dataclasses import replace

from clients.catalogue import CLIENTS, Place
from clients.play import play
from clients.test_hooks import AGENTCG
from daemon_support import Daemon, fresh


def test_model_uses_the_tools(daemon: Daemon) -> None:
    """Both are offered, called, and answered by the daemon."""
    session = fresh()
    daemon.open(session)
    call = daemon.begin(session, command="make all")
    (word, *_) = daemon.end(call["id"], exit_status=137)["feedback"]
    known = CLIENTS["claude-code"]
    server = {
        "command": str(AGENTCG), "args": ["mcp"],
        "env": {"AGENTCG_SOCKET": str(daemon.path), "AGENTCG_SESSION": session},
    }  # fmt: skip

    def argv(place: Place) -> list[str]:
        config = json.dumps({"mcpServers": {"agentcg": server}})
        allowed = "Bash,mcp__agentcg__ask_for_room,mcp__agentcg__read_feedback"
        words = [allowed if word == "Bash" else word for word in known.argv(place)]
        return [*words, "--mcp-config", config]

    asked = {"tool": "mcp__agentcg__ask_for_room", "input": {"memory": "64M", "command": "make"}}
    read = {"tool": "mcp__agentcg__read_feedback", "input": {}}
    said = play(replace(known, argv=argv), [[asked], [read]])
    (intent,) = daemon.get(f"/v1/sessions/{session}/intents")["intents"]
    assert (intent["memory_bytes"], intent["command"]) == (64 << 20, "make")
    assert json.dumps(intent["offer"]["reason"])[1:-1] in said["heard"][1]
    assert f"make all: {word['text']}" in said["heard"][2]
