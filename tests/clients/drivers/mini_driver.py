# SPDX-License-Identifier: Apache-2.0
"""mini-swe-agent with the environment of agentcg: mini_driver.py PROMPT.

Its model is asked over plain HTTP, which takes 200 MB less than litellm.
"""

import json
import os
import sys
from types import SimpleNamespace
from urllib.request import Request, urlopen

from minisweagent.agents.default import DefaultAgent
from minisweagent.models.utils.actions_toolcall import (
    BASH_TOOL,
    format_toolcall_observation_messages,
    parse_toolcall_actions,
)

from agentcg.integrations.minisweagent import AgentcgEnvironment


class Model:
    """The model of the agent, as its own ones are."""

    def query(self, messages, **kwargs):
        said = [{k: v for k, v in one.items() if k != "extra"} for one in messages]
        body = {"model": "model", "messages": said, "tools": [BASH_TOOL]}
        url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
        request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request) as answer:
            message = json.load(answer)["choices"][0]["message"]
        calls = [
            SimpleNamespace(id=one["id"], function=SimpleNamespace(**one["function"]))
            for one in message["tool_calls"]
        ]
        actions = parse_toolcall_actions(calls, format_error_template="{{error}}")
        return {**message, "extra": {"actions": actions}}

    def format_message(self, **message):
        return message

    def format_observation_messages(self, message, outputs, template_vars=None):
        return format_toolcall_observation_messages(
            actions=message["extra"]["actions"], outputs=outputs,
            observation_template="<returncode>{{output.returncode}}</returncode>\n{{output.output}}",
        )  # fmt: skip

    def get_template_vars(self, **kwargs):
        return {}

    def serialize(self):
        return {}


environment = AgentcgEnvironment(wait_s=300, timeout=300)
templates = {"system_template": "You have a shell.", "instance_template": "{{task}}"}
ended = DefaultAgent(Model(), environment, **templates).run(sys.argv[1])
sys.exit(ended["exit_status"] != "Submitted")
