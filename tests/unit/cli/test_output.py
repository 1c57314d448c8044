# SPDX-License-Identifier: Apache-2.0
"""JSON for standard output: the same document, and nothing in it that a terminal obeys."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.cli.output import escaped


@given(st.text())
def test_json_is_printable_and_says_the_same(text: str) -> None:
    """C1 controls and direction marks, which JSON leaves as they are, come as escapes."""
    document = escaped(json.dumps({"command": text}, ensure_ascii=False, indent=2))
    assert document.replace("\n", "").isprintable()
    assert json.loads(document) == {"command": text}
