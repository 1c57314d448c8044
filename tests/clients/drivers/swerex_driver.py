# SPDX-License-Identifier: Apache-2.0
"""An agent on SWE-ReX's local runtime, whose bash stays: swerex_driver.py DIR."""

import asyncio
import json
import sys
import urllib.request

from swerex.deployment.local import LocalDeployment
from swerex.runtime.abstract import BashAction, CreateBashSessionRequest

TOOL = {
    "type": "function",
    "function": {"name": "bash", "parameters": {"properties": {"command": {"type": "string"}}}},
}


def ask(messages: list) -> dict:
    request = urllib.request.Request(
        "http://127.0.0.1:8765/v1/chat/completions",
        json.dumps({"model": "model", "messages": messages, "tools": [TOOL]}).encode(),
        {"content-type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]


async def main() -> None:
    deployment = LocalDeployment()
    await deployment.start()
    await deployment.runtime.create_session(CreateBashSessionRequest(startup_timeout=60))
    await deployment.runtime.run_in_session(BashAction(command=f"cd {sys.argv[1]}"))
    messages = [{"role": "user", "content": "Run what you are told."}]
    while True:
        answer = await asyncio.to_thread(ask, messages)
        messages.append(answer)
        for call in answer.get("tool_calls", ()):
            command = json.loads(call["function"]["arguments"])["command"]
            action = BashAction(command=f"({command})", timeout=60, check="silent")
            done = await deployment.runtime.run_in_session(action)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": done.output})
        if not answer.get("tool_calls"):
            break
    await deployment.stop()


asyncio.run(main())
