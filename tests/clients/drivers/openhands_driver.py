# SPDX-License-Identifier: Apache-2.0
"""An agent of the OpenHands SDK with its terminal: openhands_driver.py tmux|subprocess DIR."""

import sys

from openhands.sdk import LLM, Agent, Conversation, Tool
from openhands.tools.terminal import TerminalTool
from pydantic import SecretStr

kind, directory = sys.argv[1:]
llm = LLM(
    model="openai/model",
    base_url="http://127.0.0.1:8765/v1",
    api_key=SecretStr("dummy"),
    usage_id="agent",
)
agent = Agent(llm=llm, tools=[Tool(name=TerminalTool.name, params={"terminal_type": kind})])
conversation = Conversation(agent=agent, workspace=directory)
conversation.send_message("Run what you are told.")
conversation.run()
conversation.close()
