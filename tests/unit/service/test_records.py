# SPDX-License-Identifier: Apache-2.0
"""What is kept in extended attributes: written and read back, damaged, newer."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.messages import Grant
from agentcg.daemon.service.records import (
    ALL_STEPS,
    CallRecord,
    SessionRecord,
    Unreadable,
    decode,
    decode_tally,
    encode,
)
from agentcg.policies import STEPS

GRANT = Grant(
    memory_high_bytes=1 << 30, memory_max_bytes=None, cpu_weight=100, pids_max=64,
    source="declared", reason="1G declared",
)  # fmt: skip
CALL = CallRecord(id="abcd", tool="Bash", category="test", begun_at=1.5, grant=GRANT)
SESSION = SessionRecord(id="efgh", name="a", uid=7, priority="low", weight=50, opened_at=2.5)


@pytest.mark.parametrize("record", [CALL, SESSION])
def test_records_come_back_as_they_were(record: CallRecord | SessionRecord) -> None:
    """Encoding and decoding changes nothing."""
    assert decode(encode(record), type(record), "here") == record


def test_unknown_fields_of_a_newer_daemon_are_ignored() -> None:
    """A downgrade loses no session."""
    newer = msgspec.json.encode({**msgspec.to_builtins(SESSION), "future": {"x": 1}})
    assert decode(newer, SessionRecord, "here") == SESSION


@given(st.binary(max_size=200))
def test_any_damage_is_said_with_its_place(raw: bytes) -> None:
    """Bytes that nobody wrote as a record are `Unreadable`, which names the cgroup."""
    with pytest.raises(Unreadable, match="/sys/fs/cgroup/x"):
        decode(raw, CallRecord, "/sys/fs/cgroup/x")


@pytest.mark.parametrize(
    ("raw", "count"), [(None, 0), (b"", 0), (b"12", 12), (b"-1", 0), (b"x", 0), (b"1.5", 0)]
)
def test_tally_is_a_number_or_nothing(raw: bytes | None, count: int) -> None:
    """A damaged statistic is no reason to refuse anything."""
    assert decode_tally(raw) == count


def test_all_steps_are_those_of_the_policy() -> None:
    """Said twice, so that what only releases calls need not load policies."""
    assert set(STEPS) == ALL_STEPS
