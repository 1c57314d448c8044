# SPDX-License-Identifier: Apache-2.0
"""The ladder's numbers as a policy has them."""

from __future__ import annotations

from dataclasses import fields, replace

from agentcg.daemon.engine.ladder_model import TUNING, Tuning
from agentcg.policies import LadderRule


def tuning_of(rule: LadderRule) -> Tuning:
    """`TUNING` with every number that the policy has under the same name."""
    own = {field.name for field in fields(TUNING)}
    return replace(TUNING, **{f.name: getattr(rule, f.name) for f in fields(rule) if f.name in own})
