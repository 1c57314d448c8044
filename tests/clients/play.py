# SPDX-License-Identifier: Apache-2.0
"""One client, one script, in no session that a test has opened."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clients.catalogue import Client, Place
from clients.install import installed
from clients.run import environment, stage


def play(
    client: Client,
    turns: Sequence[Sequence[Any]],
    meanwhile: Callable[[], None] = lambda: None,
    *,
    folder: Path | None = None,
    timeout_s: float = 300,
) -> Any:
    """Run the client, in no session, through a script; how it ended and what the model heard.

    `folder`: where it is installed, if not where `install` puts it.
    """
    with tempfile.TemporaryDirectory(prefix="agentcg-client-") as directory:
        installation = folder or installed(client)
        place = Place(installation, Path(directory) / "home", Path(directory) / "work")
        place.home.mkdir()
        place.work.mkdir()
        client.prepare(place)
        spec = {
            "argv": client.argv(place), "cwd": str(place.work), "out": f"{directory}/out",
            "timeout_s": timeout_s, "env": environment(client, place),
            "script": {"turns": turns, "delay_s": 0.05},
        }  # fmt: skip
        with stage(directory, spec) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            process.stdin.write("go\n")
            process.stdin.flush()
            meanwhile()
            said = json.loads(process.stdout.readline())
        assert said["status"] == 0, Path(spec["out"]).read_text(errors="replace")
        return said
