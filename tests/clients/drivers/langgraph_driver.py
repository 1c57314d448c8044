# SPDX-License-Identifier: Apache-2.0
"""A LangGraph agent: langgraph_driver.py node|middleware DIR (a shell per call, or one for all)."""

import subprocess
import sys

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

kind, directory = sys.argv[1:]
model = ChatOpenAI(model="model", base_url="http://127.0.0.1:8765/v1", api_key="dummy")


@tool
def shell(command: str) -> str:
    """Run a command."""
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=directory, check=False
    )
    return done.stdout + done.stderr


if kind == "node":
    agent = create_agent(model, tools=[shell])
else:
    from langchain.agents.middleware import HostExecutionPolicy, ShellToolMiddleware

    policy = HostExecutionPolicy()
    middleware = ShellToolMiddleware(workspace_root=directory, execution_policy=policy)
    agent = create_agent(model, tools=[], middleware=[middleware])
agent.invoke({"messages": [("user", "Run what you are told.")]}, {"recursion_limit": 500})
