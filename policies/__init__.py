# SPDX-License-Identifier: Apache-2.0
"""Policies: who has which priority and budget, which calls get what.

    policy = load(Path("/etc/agentcg/policies.d"))     # all or nothing
    rule = policy.session(SessionFacts(name="ci", uid=1000, memory_bytes=8 << 30))
    rule.memory_max, rule.rules["memory_max"]           # bytes, "10-site.yaml:7"

The language is described in docs/policy.md and, for editors, by `SCHEMA`.
"""

from agentcg.policies.categories import CATEGORIES, Category, categorise
from agentcg.policies.checker import check_text
from agentcg.policies.facts import (
    AdmissionRule,
    CallFacts,
    CallRule,
    CapRule,
    HostRule,
    IdleRule,
    LadderRule,
    Priority,
    SessionFacts,
    SessionRule,
)
from agentcg.policies.load import DEFAULT, check, from_texts, load
from agentcg.policies.mistakes import Mistake
from agentcg.policies.render import render
from agentcg.policies.rules import STEPS, Policy
from agentcg.policies.schema import SCHEMA

__all__ = [
    "CATEGORIES",
    "DEFAULT",
    "SCHEMA",
    "STEPS",
    "AdmissionRule",
    "CallFacts",
    "CallRule",
    "CapRule",
    "Category",
    "HostRule",
    "IdleRule",
    "LadderRule",
    "Mistake",
    "Policy",
    "Priority",
    "SessionFacts",
    "SessionRule",
    "categorise",
    "check",
    "check_text",
    "from_texts",
    "load",
    "render",
]
