# SPDX-License-Identifier: Apache-2.0
"""A model that says what a script says: Anthropic Messages, OpenAI chat and Responses.

    {"delay_s": 0.05, "turns": [["ls", "pwd"], ["make"]]}

Each turn is a list of shell commands that are called together, or other calls
(`{"tool": ..., "input": {}}`); after the last turn it is done. The turn follows from the request
(the ids of calls that it has answers to), so that a client may repeat requests as it likes. What is
no request of an agent (no tools are offered) gets two words.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

_ID = re.compile(r'"(?:call|toolu)_t(\d+)n\d+"')
DONE = "Everything is done."


class Model:
    """The script, and the commands that were handed out."""

    def __init__(self, script: Mapping[str, Any]) -> None:
        self.turns: list[list[str]] = script["turns"]
        self.delay_s = float(script.get("delay_s", 0.05))
        self.requests = 0
        self.heard: list[str] = []
        """What each request of the agent said, as it came; to be looked through by tests."""
        self.heard_at: list[float] = []

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/{path:.*}", self.answer)
        app.router.add_get("/{path:.*}", self.hello)
        return app

    @staticmethod
    async def hello(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "model", "object": "model"}], "models": []})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        body = await request.json()
        path = request.path
        if path.endswith("/count_tokens"):
            return web.json_response({"input_tokens": 10})
        speaker = next(
            (s for end, s in (("/messages", Anthropic), ("/chat/completions", Chat),
                              ("/responses", Responses)) if path.endswith(end)),
            None,
        )  # fmt: skip
        if speaker is None:
            return web.json_response({}, status=404)
        await asyncio.sleep(self.delay_s)
        number, commands = self.turn(body)
        if body.get("tools"):
            self.heard_at.append(time.monotonic())
            self.heard.append(json.dumps(body.get("messages") or body.get("input")))
        speech = speaker(body)
        calls = [speech.call(f"t{number}n{n}", command) for n, command in enumerate(commands)]
        text = "" if calls else DONE
        if not body.get("stream"):
            return web.json_response(speech.whole(text, calls))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async for event, data in speech.stream(text, calls):
            line = data if isinstance(data, str) else json.dumps(data)
            head = f"event: {event}\n" if event else ""
            await response.write(f"{head}data: {line}\n\n".encode())
        await response.write_eof()
        return response

    def turn(self, body: Mapping[str, Any]) -> tuple[int, list[str]]:
        if not body.get("tools"):
            return 0, []
        said = json.dumps(body.get("messages") or body.get("input") or [])
        number = max((int(n) for n in _ID.findall(said)), default=-1) + 1
        return number, self.turns[number] if number < len(self.turns) else []


class Speech:
    """One dialect. Tool names and the name of the argument come from the request."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.model = body.get("model", "model")
        self.tool, self.argument = "bash", "command"
        tools = body.get("tools") or ()
        self.namespaces = [tool["name"] for tool in tools if tool.get("type") == "namespace"]
        for tool in tools:
            inner = tool.get("function") or tool
            schema = inner.get("input_schema") or inner.get("parameters") or {}
            for argument in ("command", "cmd"):
                if argument in (schema.get("properties") or {}):
                    self.tool, self.argument = inner["name"], argument
                    self.required = schema.get("required") or []
                    return

    def used(self, command: Any) -> tuple[str, dict[str, Any]]:
        """The tool and its input for a call of the script."""
        if isinstance(command, dict):
            return command["tool"], command["input"]
        given = {self.argument: command}
        for name in getattr(self, "required", ()):
            given.setdefault(name, "scripted")
        return self.tool, given


class Anthropic(Speech):
    """POST /v1/messages."""

    def call(self, number: str, command: Any) -> dict[str, Any]:
        tool, given = self.used(command)
        return {"type": "tool_use", "id": f"toolu_{number}", "name": tool, "input": given}

    def whole(self, text: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": self.model,
            "content": [{"type": "text", "text": text}] if text else calls,
            "stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 10},
        }  # fmt: skip

    async def stream(self, text: str, calls: list[dict[str, Any]]) -> AsyncIterator[Any]:
        whole = self.whole(text, calls)
        blocks = whole["content"]
        yield "message_start", {"type": "message_start", "message": {**whole, "content": []}}
        for index, block in enumerate(blocks):
            is_text = block["type"] == "text"
            empty = {**block, "text": ""} if is_text else {**block, "input": {}}
            delta = (
                {"type": "text_delta", "text": block["text"]}
                if is_text
                else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            )
            for kind, more in (
                ("content_block_start", {"content_block": empty}),
                ("content_block_delta", {"delta": delta}),
                ("content_block_stop", {}),
            ):
                yield kind, {"type": kind, "index": index, **more}
        ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield (
            "message_delta",
            {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 10}},
        )
        yield "message_stop", {"type": "message_stop"}


class Chat(Speech):
    """POST /v1/chat/completions."""

    def call(self, number: str, command: Any) -> dict[str, Any]:
        tool, given = self.used(command)
        return {
            "id": f"call_{number}", "type": "function",
            "function": {"name": tool, "arguments": json.dumps(given)},
        }  # fmt: skip

    def _choice(self, kind: str, message: object, finish: str | None) -> dict[str, Any]:
        return {
            "id": "chat-1", "object": kind, "created": 1, "model": self.model,
            "choices": [{"index": 0, "finish_reason": finish,
                         "delta" if kind.endswith("chunk") else "message": message}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20},
        }  # fmt: skip

    def whole(self, text: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = calls
        return self._choice("chat.completion", message, "tool_calls" if calls else "stop")

    async def stream(self, text: str, calls: list[dict[str, Any]]) -> AsyncIterator[Any]:
        kind = "chat.completion.chunk"
        yield "", self._choice(kind, {"role": "assistant", "content": text}, None)
        for index, call in enumerate(calls):
            yield "", self._choice(kind, {"tool_calls": [{"index": index, **call}]}, None)
        yield "", self._choice(kind, {}, "tool_calls" if calls else "stop")
        yield "", "[DONE]"


class Responses(Speech):
    """POST /v1/responses."""

    def call(self, number: str, command: Any) -> dict[str, Any]:
        tool, given = self.used(command)
        within = next((name for name in self.namespaces if tool.startswith(f"{name}__")), None)
        named = {"name": tool} if within is None else {
            "namespace": within, "name": tool.removeprefix(f"{within}__")
        }  # fmt: skip
        return {
            "type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}",
            **named, "arguments": json.dumps(given), "status": "completed",
        }  # fmt: skip

    def whole(self, text: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        said = {
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }  # fmt: skip
        return {
            "id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
            "model": self.model, "output": calls or [said], "error": None,
            "usage": {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20,
                      "input_tokens_details": {"cached_tokens": 0},
                      "output_tokens_details": {"reasoning_tokens": 0}},
        }  # fmt: skip

    async def stream(self, text: str, calls: list[dict[str, Any]]) -> AsyncIterator[Any]:
        whole = self.whole(text, calls)
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": {**whole, "output": [], "usage": None}}
        ]
        for index, item in enumerate(whole["output"]):
            for kind in ("added", "done"):
                name = f"response.output_item.{kind}"
                events.append({"type": name, "output_index": index, "item": item})
        events.append({"type": "response.completed", "response": whole})
        for number, event in enumerate(events):
            yield event["type"], {**event, "sequence_number": number}
