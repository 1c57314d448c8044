# SPDX-License-Identifier: Apache-2.0
"""What clients give their hooks, and what is said back."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.hooks import read, say
from agentcg.daemon.messages import Feedback

CLAUDE = {
    "session_id": "fd16d0b1-5170-454b-899b-47b238150248",
    "transcript_path": "/home/ada/.claude/projects/x.jsonl",
    "cwd": "/src",
    "permission_mode": "default",
    "tool_name": "Bash",
    "tool_input": {"command": "git status", "description": "look"},
    "tool_use_id": "toolu_1",
}
OPENHANDS = {
    "event_type": "PreToolUse",
    "session_id": "0f",
    "tool_name": "terminal",
    "tool_input": {"command": "git status"},
    "working_dir": "/src",
}
OOM = Feedback(code="oom-call", text="It needed more than 256M.")


def told(name: str, **changes: Any) -> Any:
    return read({**CLAUDE, "hook_event_name": name, **changes})


def test_begin_and_end_of_a_call_have_its_reference() -> None:
    """The client's id of the call, its tool and its command."""
    begin = told("PreToolUse")
    assert (begin.kind, begin.tool, begin.command) == ("begin", "Bash", "git status")
    end = told("PostToolUse", tool_response={"stdout": "", "interrupted": False})
    assert (end.kind, end.exit_status, end.cancelled) == ("end", 0, False)
    assert begin.reference == end.reference == "toolu_1"


def test_a_command_in_words_is_one_line() -> None:
    """As a shell would take it, so that it is one with what the shell itself tells."""
    begin = told("PreToolUse", tool_input={"command": ["bash", "-lc", "echo 'a b'"]})
    assert shlex.split(begin.command) == ["bash", "-lc", "echo 'a b'"]


@pytest.mark.parametrize(
    ("error", "status"),
    [("Exit code 137\nKilled", 137), ("It failed with exit code 3", 3), ("no such tool", None)],
)
def test_failures_tell_their_status(error: str, status: int | None) -> None:
    """Claude Code has it in the words of the error."""
    assert told("PostToolUseFailure", error=error).exit_status == status


def test_interrupted_call_is_cancelled() -> None:
    """The user pressed a key: that is no fault of the call."""
    assert told("PostToolUseFailure", error="", is_interrupt=True).cancelled


def test_command_in_the_background_goes_on() -> None:
    """The end of the tool call is not that of its command."""
    assert told("PostToolUse", tool_input={"command": "x", "run_in_background": True}).detached


def test_batch_names_calls_that_are_over() -> None:
    """Denied ones are among them; what has no id, or an odd one, is passed over."""
    calls = [
        {"tool_use_id": "a"},
        {"tool_use_id": 7},
        "x",
        {"tool_name": "Bash"},
        {"tool_use_id": "b"},
    ]
    found = told("PostToolBatch", tool_calls=calls)
    assert (found.kind, found.batch) == ("batch", {"a", "b"})
    assert told("PostToolBatch", tool_calls={"tool_use_id": "a"}).batch == frozenset()


def test_calls_without_an_id_are_known_by_their_text() -> None:
    """OpenHands gives none: the same command in the same session is the same call."""
    begin, end = read(OPENHANDS), read({**OPENHANDS, "event_type": "PostToolUse"})
    other = read({**OPENHANDS, "tool_input": {"command": "git diff"}})
    assert (begin.kind, end.kind) == ("begin", "end")
    assert begin.reference == end.reference != other.reference


@pytest.mark.parametrize(
    ("name", "kind"),
    [("SessionStart", "opened"), ("UserPromptSubmit", "prompt"), ("Stop", "stopped"),
     ("SessionEnd", "closed"), ("PreCompact", "other"), ("Brand-New", "other")],
)  # fmt: skip
def test_turns_of_a_session(name: str, kind: str) -> None:
    """What is not known is nothing."""
    assert told(name).kind == kind


@pytest.mark.parametrize("tool_input", [None, "text", [], {"file_path": "/x"}, {"command": 7}])
def test_tools_without_a_command_are_no_calls(tool_input: Any) -> None:
    """They run in the agent itself, and have no process to put anywhere."""
    assert told("PreToolUse", tool_input=tool_input).kind == "other"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*CLAUDE, "hook_event_name", "error", "tool_response", "is_interrupt"])


@given(st.sampled_from(["PreToolUse", "PostToolUse", "Stop"]), st.dictionaries(FIELDS, ANYTHING))
def test_any_input_is_something(name: str, changes: dict[str, Any]) -> None:
    """Fields of any type give an event, with texts that the daemon can keep."""
    event = read({**CLAUDE, "hook_event_name": name, **changes})
    assert len(event.reference) <= 128
    assert len(event.command) <= 4096
    assert event.name.isprintable()


def test_feedback_is_said_to_the_model() -> None:
    """In the field that the client passes on; nothing of it is a decision."""
    answer = say(told("PostToolUseFailure"), [OOM])
    printed = msgspec.json.decode(msgspec.json.encode(answer))
    text = "agentcg: It needed more than 256M."
    assert printed == {
        "hookSpecificOutput": {"hookEventName": "PostToolUseFailure", "additionalContext": text}
    }
    flat = say(read({**OPENHANDS, "event_type": "PostToolUse"}), [OOM])
    assert msgspec.json.decode(msgspec.json.encode(flat)) == {"additionalContext": text}


@pytest.mark.parametrize(
    "feedback", [[], [Feedback(code="ok", text="Done in 1s.")],
                 [Feedback(code="waited", text="It waited 0ms.", waited_s=0.0001)]],
)  # fmt: skip
def test_nothing_to_say(feedback: list[Feedback]) -> None:
    """What went well is not told, nor a wait that nobody noticed."""
    assert say(told("PostToolUse"), feedback) is None


def test_nobody_hears() -> None:
    """Events whose answer does not reach the model get none."""
    assert say(told("Stop"), [OOM]) is None
