# SPDX-License-Identifier: Apache-2.0
"""The report of `agentcg doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from agentcg.daemon.cli.view.figures import BAD, GOOD, WARN
from agentcg.daemon.cli.view.fit import fit, fold, pad
from agentcg.daemon.messages import Control, Health
from agentcg.units import format_duration

_STATES = {
    "enforced": ("ok", GOOD),
    "degraded": ("DEGRADED", BAD),
    "absent": ("ABSENT", BAD),
    "off": ("off", WARN),
}
_STATE_CELLS, _DETAIL_LINES_MAX = 8, 6


def report(
    health: Health | None, absence: str, controls: Sequence[Control], width: int
) -> list[Text]:
    """Lines: the daemon first, then each control, with its detail below it."""
    shown = list(controls)
    if health is not None and health.policy_error is not None:
        refused = Control(
            name="policy", state="degraded", backend="not taken", detail=health.policy_error
        )
        shown.insert(0, refused)
    elif health is not None and health.policy_warnings:
        shown.insert(0, _warned(health.policy_warnings))
    cells = max((len(control.name) for control in shown), default=0)
    lines = _daemon(health, absence, width)
    for control in shown:
        lines += _control(control, cells, width)
    return lines


def _warned(warnings: Sequence[str]) -> Control:
    count = f"{len(warnings)} {'warning' if len(warnings) == 1 else 'warnings'}"
    return Control(name="policy", state="enforced", backend=count, detail="\n".join(warnings))


def _daemon(health: Health | None, absence: str, width: int) -> list[Text]:
    if health is None:
        style, text = WARN, f"The daemon is not there ({absence}). This host:"
    else:
        style = {"ok": GOOD, "degraded": BAD}.get(health.state, WARN)
        up = format_duration(health.uptime_s)
        text = f"agentcgd {health.version} is {health.state}, up {up}, policy {health.policy}"
    return [Text(line, style) for line in fold(text, width, _DETAIL_LINES_MAX)]


def _control(control: Control, name_cells: int, width: int) -> list[Text]:
    word, style = _STATES[control.state]
    first = Text(no_wrap=True, end="")
    first.append(pad(word, _STATE_CELLS), style)
    first.append(f"  {control.name:<{name_cells}}  ", "bold")
    first.append(fit(control.backend, max(0, width - first.cell_len)))
    first.rstrip()
    indent = " " * (_STATE_CELLS + 2)
    detail = control.detail
    rest = fold(detail, width - len(indent), _DETAIL_LINES_MAX) if detail else []
    return [first, *(Text(indent + line) for line in rest)]
