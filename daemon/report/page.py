# SPDX-License-Identifier: Apache-2.0
"""A recording as one HTML page that needs nothing else: no network, no scripts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import msgspec

from agentcg.daemon.client.text import printable
from agentcg.daemon.report import drawing
from agentcg.daemon.report.recording import RecordedCall, Recording
from agentcg.daemon.report.statistics import Statistics, cpu_s, statistics
from agentcg.units import format_duration, format_size

CALLS_SHOWN = 500
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1080px; color: #222;
       background: #fff; padding: 0 1em }
h1 { font-size: 1.4em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; margin: .8em 0; width: 100% }
th, td { text-align: left; padding: .2em .6em; border-bottom: 1px solid #ddd; white-space: nowrap }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
td.c { font-family: ui-monospace, monospace; max-width: 28em; overflow: hidden;
       text-overflow: ellipsis }
svg.timeline { width: 100%; border: 1px solid #ddd; background: #fafafa }
svg.curve { width: 160px; height: 32px }
polyline { fill: none; stroke-width: 1.5 } .memory { stroke: #3b7dc4 } .cpu { stroke: #c98a1b }
text { font-size: 10px; fill: #555 } .bad { color: #b5443c }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: .5em }
dt { color: #666; font-size: .85em } dd { margin: 0; font-size: 1.1em }
"""


def page(recording: Recording, title: str) -> str:
    """The page. The statistics are in it as JSON, too, for programs (`#statistics`)."""
    every = [statistics(recording, name) for name in recording.sessions()]
    body = "".join(_session(recording.of(one.session), one) for one in every)
    data = msgspec.json.encode(every).decode().replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>"
        f"{body or '<p>Nothing was recorded.</p>'}"
        f'<script type="application/json" id="statistics">{data}</script></html>\n'
    )


def _session(part: Recording, found: Statistics) -> str:
    return (
        f'<section id="session-{escape(found.session)}"><h2>{escape(found.session)}</h2>'
        + _figures(found)
        + drawing.timeline(part, found.begun_at, found.duration_s)
        + _categories(found)
        + _calls(part.calls)
        + "</section>"
    )


def _figures(found: Statistics) -> str:
    ratio = found.peak_to_average
    figures = [
        ("duration", format_duration(found.duration_s)),
        ("calls", f"{found.calls} ({found.failed} failed, {found.killed} killed)"),
        ("calling", f"{format_duration(found.calling_s)} ({found.calling_share:.0%})"),
        ("thinking", f"{format_duration(found.thinking_s)} ({1 - found.calling_share:.0%})"),
        ("at once, at most", str(found.parallel_max)),
        ("gap between calls, median", format_duration(found.gap_p50_s)),
        ("longest gap", format_duration(found.gap_max_s)),
        ("memory peak", format_size(found.memory_peak_bytes)),
        ("memory average", format_size(found.memory_average_bytes)),
        ("peak to average", "-" if ratio is None else f"{ratio:.2f}"),
        ("CPU of calls", format_duration(found.cpu_s)),
        ("bursts (100M in 1 s)", str(found.bursts)),
        ("steepest rise in 1 s", format_size(found.burst_max_bytes)),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures)
    return f"<dl>{cells}</dl>"


def _categories(found: Statistics) -> str:
    rows = [
        [
            row.name, str(row.calls), format_duration(row.total_s), format_duration(row.p50_s),
            format_duration(row.p95_s), format_duration(row.max_s),
            format_size(row.p50_peak_bytes), format_size(row.max_peak_bytes),
            format_duration(row.cpu_s),
        ]
        for row in found.categories
    ]  # fmt: skip
    titles = ["category", "calls", "in all", "median", "p95", "longest", "median peak",
              "highest peak", "CPU"]  # fmt: skip
    return _table("categories", titles, rows)


def _calls(calls: Sequence[RecordedCall]) -> str:
    shown = list(calls[-CALLS_SHOWN:])
    rows = [
        "<tr>"
        f'<td class="c" title="{_text(one)}">{_text(one)}</td><td>{_outcome(one)}</td>'
        f'<td class="n">{format_duration(one.end - one.call.begun_at)}</td>'
        f'<td class="n">{format_duration(cpu_s([one]))}</td>'
        f'<td class="n">{format_size(one.call.account.memory_peak_bytes)}</td>'
        f"<td>{drawing.curve(one.curve)}</td></tr>"
        for one in shown
    ]
    left = f"<p>The last {len(shown)} of {len(calls)} calls.</p>" if len(shown) < len(calls) else ""
    return (
        f'{left}<table class="calls"><thead><tr><th>call</th><th>end</th><th class="n">time</th>'
        '<th class="n">CPU</th><th class="n">peak</th><th>memory over time (else CPU)</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _text(one: RecordedCall) -> str:
    return escape(printable(one.call.command or one.call.tool))


def _outcome(one: RecordedCall) -> str:
    call = one.call
    if call.end_reason in ("oom", "killed"):
        return f'<span class="bad">{call.end_reason}</span>'
    return "ended" if call.exit_status is None else f"exit {call.exit_status}"


def _table(name: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        first, *others = (escape(cell) for cell in cells)
        more = "".join(f'<{tag} class="n">{cell}</{tag}>' for cell in others)
        return f"<tr><{tag}>{first}</{tag}>{more}</tr>"

    body = "".join(line(row, "td") for row in rows)
    head = line(titles, "th")
    return f'<table class="{name}"><thead>{head}</thead><tbody>{body}</tbody></table>'
