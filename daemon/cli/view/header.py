# SPDX-License-Identifier: Apache-2.0
"""The head of the status page: host, daemon, policy, and loudly what is wrong."""

from __future__ import annotations

from rich.text import Text

from agentcg.daemon.cli.snapshot import Snapshot
from agentcg.daemon.cli.view.figures import BAD, NEAR_LIMIT, WARN, percent
from agentcg.daemon.cli.view.fit import fit, fold, pad
from agentcg.daemon.messages import Health, Host
from agentcg.units import format_duration, format_size

WARNINGS_MAX = 4
WARNING_LINES_MAX = 3
_BAR_MIN, _BAR_MAX = 8, 40


def header(now: Snapshot, width: int, gone: str = "") -> list[Text]:
    """The lines above the sessions, each at most `width` cells."""
    return [
        *(_loud("GONE", f"{gone}; what is shown is old", width) if gone else []),
        _title(now.host, now.health, width),
        _memory(now.host, width),
        _load(now.host, now.health, width),
        *warnings(now.health, width),
    ]


def warnings(health: Health, width: int) -> list[Text]:
    """What an operator must see: a policy that was not taken, controls that do not hold."""
    found = []
    if health.policy_error is not None:
        found.append(("POLICY", f"not taken: {health.policy_error}"))
    if health.state == "degraded":
        weak = _by_reason(health)
        found += [("DEGRADED", f"{', '.join(names)}: {why}") for why, names in weak.items()]
        if not weak and health.policy_error is None:
            found.append(("DEGRADED", "see: agentcg doctor"))
    if health.events_lost:
        found.append(("LOST", f"{health.events_lost} kernel events: counts may be too low"))
    lines = [line for word, text in found[:WARNINGS_MAX] for line in _loud(word, text, width)]
    if len(found) > WARNINGS_MAX:
        more = f"and {len(found) - WARNINGS_MAX} more; see: agentcg doctor"
        lines.append(Text(fit(f"         {more}", width), BAD))
    return lines


def _by_reason(health: Health) -> dict[str, list[str]]:
    """Controls that do not hold, those with the same cause together."""
    weak: dict[str, list[str]] = {}
    for control in health.controls:
        if control.state != "enforced":
            weak.setdefault(control.detail, []).append(control.name)
    return weak


def _loud(word: str, text: str, width: int) -> list[Text]:
    lines = []
    for number, part in enumerate(fold(text, width - 9, WARNING_LINES_MAX)):
        line = Text(no_wrap=True, end="")
        line.append(pad(word, 8) if number == 0 else " " * 8, f"reverse {BAD}")
        line.append(" " + part, BAD)
        line.truncate(width)
        lines.append(line)
    return lines


def _title(host: Host, health: Health, width: int) -> Text:
    right = f"daemon {health.state}, up {format_duration(health.uptime_s)}"
    cpus = "1 CPU" if host.cpus == 1 else f"{host.cpus} CPUs"
    left = f"agentcg {health.version} on {host.hostname}  Linux {host.kernel}, {cpus}"
    style = "green" if health.state == "ok" else BAD if health.state == "degraded" else WARN
    return _two_sided(left, right, width, left_style="bold", right_style=style)


def _memory(host: Host, width: int) -> Text:
    bound = host.memory_max_bytes
    used = format_size(host.memory_current_bytes)
    agents = f"memory  agents {used}" + (f" of {format_size(bound)}" if bound else "")
    free, total = format_size(host.memory_available_bytes), format_size(host.memory_total_bytes)
    right = f"host {free} free of {total}"
    room = width - len(agents) - len(right) - 4
    share = (host.memory_current_bytes or 0) / max(1, bound or host.memory_total_bytes)
    line = Text(agents, no_wrap=True, end="")
    if room >= _BAR_MIN:
        cells = min(room, _BAR_MAX)
        line.append("  ")
        line.append_text(bar(share, cells))
        line.append(" " * (width - len(agents) - cells - len(right) - 2) + right)
    else:
        line.append("  " + right)
    line.truncate(width, overflow="ellipsis")
    return line


def bar(share: float, cells: int) -> Text:
    """A bar of `cells` cells, filled by `share` (0 to 1)."""
    share = min(1.0, max(0.0, share))
    full = min(cells, round(share * cells))
    style = BAD if share >= NEAR_LIMIT else WARN if share >= 0.8 else "green"
    return Text.assemble(("━" * full, style), ("─" * (cells - full), "dim"))


def _load(host: Host, health: Health, width: int) -> Text:
    pressure = host.pressure
    left = (
        f"stall   memory {percent(pressure.memory_some_avg10)}"
        f"  cpu {percent(pressure.cpu_some_avg10)}  io {percent(pressure.io_some_avg10)}"
        f"  calls {host.calls_running}"
    )
    if host.calls_lingering:
        left += f" + {host.calls_lingering} lingering"
    if host.calls_waiting:
        left += f" + {host.calls_waiting} waiting for room"
    left += f", {host.calls_total} in all"
    return _two_sided(left, f"policy {health.policy}", width)


def _two_sided(
    left: str, right: str, width: int, *, left_style: str = "", right_style: str = ""
) -> Text:
    """`left` and `right` at the two ends of a line; where both do not fit, `left` is kept."""
    left = fit(left, width)
    line = Text(no_wrap=True, end="")
    line.append(left, left_style)
    room = width - line.cell_len - 2
    if room >= 8:
        line.append("  " + pad(right, room, right=True), right_style)
    return line
