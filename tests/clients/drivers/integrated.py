# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLC0415
"""Agents with agentcg's integrations: integrated.py FRAMEWORK COMMAND... prints what they got.

Runs in the framework's own environment, with agentcg's sources in PYTHONPATH.
"""

import asyncio
import json
import sys

framework, *commands = sys.argv[1:]
said = []


def langchain(asynchronous):
    import subprocess

    from langchain.agents import create_agent
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.tools import tool

    from agentcg.integrations.langchain import AgentcgMiddleware

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools, **kwargs):
            return self

    @tool
    def shell(command: str) -> str:
        """Run a command."""
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        return done.stdout

    calls = [
        AIMessage("", tool_calls=[{"name": "shell", "args": {"command": command}, "id": f"c{n}"}])
        for n, command in enumerate(commands)
    ]
    model = Model(messages=iter([*calls, AIMessage("done")]))
    agent = create_agent(model, [shell], middleware=[AgentcgMiddleware(wait_s=1)])
    given = {"messages": [("user", "go")]}
    result = asyncio.run(agent.ainvoke(given)) if asynchronous else agent.invoke(given)
    said.extend(m.content for m in result["messages"] if m.type == "tool")


def mini():
    from agentcg.integrations.minisweagent import AgentcgEnvironment

    environment = AgentcgEnvironment(timeout=2)
    for command in commands:
        output = environment.execute({"command": command})
        said.append(f"{output['returncode']} {output['output']} {output['exception_info']}")


async def swerex():
    from swerex.deployment.local import LocalDeployment
    from swerex.runtime.abstract import BashAction, Command, CreateBashSessionRequest

    from agentcg.integrations.swerex import AgentcgRuntime

    deployment = LocalDeployment()
    await deployment.start()
    runtime = AgentcgRuntime(deployment.runtime, wait_s=1)
    await runtime.create_session(CreateBashSessionRequest(startup_timeout=60))
    for command in commands:
        done = await runtime.run_in_session(BashAction(command=command, check="silent"))
        said.append(f"{done.exit_code} {done.output}")
    done = await runtime.execute(Command(command=["echo", "by itself"]))
    said.append(f"{done.exit_code} {done.stdout}")
    await runtime.close()


def openhands():
    from openhands.sdk import LLM, Agent, Conversation, Tool
    from openhands.sdk.hooks import HookConfig
    from openhands.tools.terminal import TerminalTool
    from pydantic import SecretStr

    from agentcg.integrations.openhands import Listener

    llm = LLM(
        model="openai/model", base_url="http://127.0.0.1:8765/v1", api_key=SecretStr("dummy"),
        usage_id="agent",
    )  # fmt: skip
    agent = Agent(llm=llm, tools=[Tool(name=TerminalTool.name)])
    how = (
        {"hook_config": HookConfig.load()}
        if framework == "openhands-hooks"
        else {"callbacks": [Listener(told=said.append)]}
    )
    conversation = Conversation(agent=agent, workspace=".", visualizer=None, **how)
    conversation.send_message("Run what you are told.")
    conversation.run()
    conversation.close()


match framework:
    case "langchain":
        langchain(asynchronous=False)
    case "langchain-async":
        langchain(asynchronous=True)
    case "mini-swe-agent":
        mini()
    case "swe-rex":
        asyncio.run(swerex())
    case "openhands" | "openhands-hooks":
        openhands()
print(json.dumps(said))
