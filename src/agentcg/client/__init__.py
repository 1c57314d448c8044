# SPDX-License-Identifier: Apache-2.0
"""The client for agents: calls and intents from Python, with the standard library alone.

    with Client() as agent, agent.call("Bash", "pytest -x", memory_bytes=512 << 20) as call:
        done = subprocess.run(call.wrap(["pytest", "-x"]))
        call.exit_status = done.returncode
    print(call.told())

`AsyncClient` is the same with `async with` and `await`. Neither ever fails its caller because of
agentcg: where the daemon is away, slow or refuses, the body runs without a call, and
`call.problem` says why.
"""

from agentcg.client.answers import Declared, Feedback, Grant
from agentcg.client.calls import Call
from agentcg.client.choice import choose_session, socket_path
from agentcg.client.client import Client

TYPE_CHECKING = False  # as a type checker has it; typing itself takes too long to import
if TYPE_CHECKING:
    from agentcg.client.asynchronous import AsyncCall, AsyncClient

__all__ = [
    "AsyncCall", "AsyncClient", "Call", "Client", "Declared", "Feedback", "Grant", "choose_session",
    "socket_path",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """asyncio takes 30 ms to import: only who names the asynchronous client pays for it."""
    if name in {"AsyncClient", "AsyncCall"}:
        from agentcg.client import asynchronous  # noqa: PLC0415

        return getattr(asynchronous, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
