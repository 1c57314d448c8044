# SPDX-License-Identifier: Apache-2.0
"""`agentcg policy explain`: which rule decides what."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from agentcg.daemon.cli.logins import login_of, uid_of
from agentcg.daemon.cli.options import Json, SessionOption, call_id, client_of, memory_size
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.client.text import printable
from agentcg.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from agentcg.daemon.client import Client
    from agentcg.daemon.messages import Call, Session
    from agentcg.policies import Policy, Priority
    from agentcg.policies.explain import Decided

HELP = """Which rule decides what, for a session or a call that is there or that is made up.

Each setting with its value and the rule (FILE:LINE) that decides it; - where none does. For a
session that is open it is what the policy in force would give it now: sessions keep what they
were opened with.

\b
Examples:
  agentcg policy explain --session reviewer
  agentcg policy explain --call k3f9a2b7
  agentcg policy explain --user ci --label kind=batch --tool Bash --command 'pytest -q'
  agentcg policy explain --policy 50-site.yaml --container web --memory 8G --json

Exit codes: 0; 1 a policy with mistakes, no such session or call; 3 no daemon, where one is
asked; 4 not permitted.
"""

NOBODYS_UID = (1 << 32) - 2


def explain(  # noqa: PLR0917 - one parameter for each fact that a rule can ask for
    ctx: typer.Context,
    session: SessionOption = None,
    call: Annotated[
        str | None, typer.Option("--call", metavar="ID", parser=call_id, help="A call.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of a made-up session.")] = "session",
    user: Annotated[str | None, typer.Option("--user", help="Login that opens it.")] = None,
    uid: Annotated[int | None, typer.Option("--uid", help="Its user id.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Again for more.")
    ] = None,
    container: Annotated[str | None, typer.Option("--container", help="Name or id.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Of the container.")] = None,
    cgroup: Annotated[str | None, typer.Option("--cgroup", help="Where it comes from.")] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="systemd unit.")] = None,
    priority: Annotated[str | None, typer.Option("--priority", help="That it asks for.")] = None,
    tool: Annotated[str | None, typer.Option("--tool", help="Of a made-up call.")] = None,
    command: Annotated[str | None, typer.Option("--command", help="Its command.")] = None,
    category: Annotated[str | None, typer.Option("--category", help="Else worked out.")] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            "--memory", metavar="SIZE", parser=memory_size,
            help="What all sessions may use together (default: on this host).",
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="PATH", help="A policy other than that in force."),
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Print each setting and the rule that decides it."""
    from agentcg.daemon.cli.policy_source import in_force, of_path
    from agentcg.daemon.trial import facts
    from agentcg.policies import CATEGORIES, SessionFacts
    from agentcg.policies import explain as explained

    client = client_of(ctx)
    rules = (in_force(client) if policy is None else of_path(policy)).policy
    of_all = memory or _memory_of_all(client, rules)
    live_call = None if call is None else client.call(call)
    live = _live(client, session, live_call)
    if live is not None:
        about = facts.of_session(live, login_of(live.uid), of_all)
    else:
        of_user = _uid(uid, user)
        about = SessionFacts(
            name=name, uid=of_user, user=user or login_of(of_user), memory_bytes=of_all,
            labels=_labels(label),
            container=() if container is None else (container,), image=image, cgroup=cgroup,
            unit=unit, asked_priority=_priority(priority),
        )  # fmt: skip
    found = {
        "session": explained.of_session(rules, about),
        "user": explained.of_user(rules, about),
        "tenant": explained.of_tenant(rules, about),
    }
    of_call = None
    if live_call is not None:
        of_call = facts.of_call(rules, about, live_call)
    elif tool is not None or command is not None or category is not None:
        checked = _one_of("--category", CATEGORIES, category)
        of_call = facts.made_up_call(rules, about, tool or "Bash", command, checked)
    if of_call is not None:
        found["call"] = explained.of_call(rules, of_call)
    if as_json:
        print_json({kind: [asdict(each) for each in lines] for kind, lines in found.items()})
    else:
        _print(found)


def _print(found: Mapping[str, Sequence[Decided]]) -> None:
    cells = max(len(each.value) for lines in found.values() for each in lines)
    for kind, lines in found.items():
        if lines:
            typer.echo(kind)
        for each in lines:
            typer.echo(printable(f"  {each.setting:<18}  {each.value:<{cells}}  {each.where}"))


def _live(client: Client, session: str | None, call: Call | None) -> Session | None:
    if call is not None:
        return client.session(call.session)
    return None if session is None else client.session(session)


def _memory_of_all(client: Client, policy: Policy) -> int:
    """On this host: as the daemon says, else as it would be."""
    from agentcg.daemon.trial import facts

    try:
        return facts.memory_of_all(client.host(), policy)
    except Unavailable:
        import psutil

        total = int(psutil.virtual_memory().total)
        return min(total, policy.host(total).memory_max or total)


def _uid(uid: int | None, user: str | None) -> int:
    """The one that is given, else that of `user` on this host, else one that nobody has."""
    if uid is not None:
        return uid
    found = os.getuid() if user is None else uid_of(user)
    return NOBODYS_UID if found is None else found


def _labels(given: Sequence[str] | None) -> dict[str, str]:
    labels = {}
    for each in given or ():
        key, sign, value = each.partition("=")
        if not key or not sign:
            raise InvalidInput("--label", each, "KEY=VALUE")
        labels[key] = value
    return labels


def _priority(given: str | None) -> Priority | None:
    from agentcg.policies.language import PRIORITIES

    return cast("Priority | None", _one_of("--priority", PRIORITIES, given))


def _one_of(option: str, words: Sequence[str], given: str | None) -> str | None:
    if given is not None and given not in words:
        raise InvalidInput(option, given, f"one of {', '.join(words)}")
    return given
