#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the API's messages cost with msgspec, and what the same ones would cost with pydantic.

    python tests/bench/messages.py

Both libraries get the same contract: the pydantic models are made from the structs of
agentcg.daemon.messages, field by field with the same bounds. Times are the best of five
repetitions (the least disturbed one); import time and memory are those of a fresh
interpreter that imports the library and builds the two models.
"""

from __future__ import annotations

import json
import subprocess
import sys
import timeit
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from agentcg.daemon import messages

LIBRARIES = ("msgspec", "pydantic")
REPETITIONS, ROUNDS = 5, 2000


def examples() -> dict[str, msgspec.Struct]:
    """A request and an answer of ordinary size."""
    grant = messages.Grant(
        memory_high_bytes=256 << 20,
        memory_max_bytes=512 << 20,
        cpu_weight=100,
        pids_max=512,
        source="policy",
        reason="tests of this session peaked at 180M",
        rule="default.yaml:12",
    )
    executed = messages.Executed(time_s=1.7e9, pid=4242, argv="python3 -m pytest -q tests/unit")
    account = messages.Account(
        wall_s=12.5,
        cpu_user_us=9_000_000,
        cpu_system_us=700_000,
        memory_peak_bytes=180 << 20,
        processes=14,
        commands=[executed] * 4,
    )
    call = messages.Call(
        id="c0ffee42",
        session="reviewer",
        tool="Bash",
        command="pytest -q tests/unit",
        category="test",
        reference="toolu_01",
        state="ended",
        found="declared",
        begun_at=1.7e9,
        ended_at=1.7e9 + 12.5,
        end_reason="declared",
        exit_status=0,
        cgroup="/sys/fs/cgroup/agentcg.slice/agentcg-sessions.service/sessions/reviewer/call-c0ffee42",
        grant=grant,
        account=account,
        processes_now=0,
        feedback=[messages.Feedback(code="ok", text="Peak 180M of 256M.")],
    )
    begin = messages.BeginCall(
        tool="Bash", command="pytest -q tests/unit", category="test", memory_bytes=256 << 20
    )
    return {"BeginCall": begin, "Call": call}


def as_pydantic(kind: Any) -> Any:
    """The pydantic counterpart of a msgspec type: same fields, same bounds."""
    import pydantic  # noqa: PLC0415  only the pydantic half of the measurement may load it

    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields: dict[str, Any] = {}
        for one in msgspec.structs.fields(kind):
            default: Any = ...
            if one.default is not msgspec.NODEFAULT:
                default = one.default
            elif one.default_factory is not msgspec.NODEFAULT:
                default = pydantic.Field(default_factory=one.default_factory)
            fields[one.name] = (as_pydantic(one.type), default)
        strict = "forbid" if kind.__struct_config__.forbid_unknown_fields else "ignore"
        # Its own engine knows no look-ahead, which the patterns of names have.
        config = pydantic.ConfigDict(extra=strict, frozen=True, regex_engine="python-re")
        return pydantic.create_model(kind.__name__, __config__=config, **fields)
    if get_origin(kind) is Annotated:
        inner, *metas = get_args(kind)
        bounds = {}
        for meta in metas:
            for name in ("ge", "le", "min_length", "max_length", "pattern"):
                if (value := getattr(meta, name)) is not None:
                    bounds[name] = value
        return Annotated[as_pydantic(inner), pydantic.Field(**bounds)]
    if get_origin(kind) is list:
        return list[as_pydantic(get_args(kind)[0])]
    if type(None) in get_args(kind):
        return Union[tuple(as_pydantic(arm) for arm in get_args(kind))]  # noqa: UP007  of a tuple
    return kind


def codecs(library: str) -> dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]]:
    """Decoder and encoder of each example's type."""
    result: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {}
    for name in ("BeginCall", "Call"):
        kind = getattr(messages, name)
        if library == "msgspec":
            result[name] = (msgspec.json.Decoder(kind).decode, msgspec.json.Encoder().encode)
        else:
            model = as_pydantic(kind)
            result[name] = (model.model_validate_json, lambda it: it.model_dump_json().encode())
    return result


def best_us(action: Callable[[], object]) -> float:
    """Microseconds that one run of `action` takes."""
    return min(timeit.repeat(action, repeat=REPETITIONS, number=ROUNDS)) / ROUNDS * 1e6


def start(library: str) -> dict[str, float]:
    """Time and resident memory that importing `library` adds to a fresh interpreter."""
    # BaseModel and Struct are named because pydantic loads most of itself only then.
    program = f"""
import json, time
def rss(): return int(open("/proc/self/statm").read().split()[1]) * 4096
before, began = rss(), time.perf_counter()
from {library} import {"Struct" if library == "msgspec" else "BaseModel"}
took = time.perf_counter() - began
print(json.dumps({{"import ms": took * 1e3, "import RSS MiB": (rss() - before) / (1 << 20)}}))
"""
    runs = [
        json.loads(subprocess.check_output([sys.executable, "-c", program]))
        for _ in range(REPETITIONS)
    ]
    return {name: min(run[name] for run in runs) for name in runs[0]}


def measure(library: str) -> dict[str, float]:
    """All figures of one library."""
    figures = start(library)
    for name, example in examples().items():
        decode, encode = codecs(library)[name]
        body = msgspec.json.encode(example)
        value = decode(body)
        # As the type has it: one leaves out what has its default, the other writes it.
        if msgspec.json.decode(encode(value), type=type(example)) != example:
            raise SystemExit(f"{library} does not give back {name}: nothing to compare")
        figures[f"decode {name} us"] = best_us(lambda decode=decode, body=body: decode(body))
        figures[f"encode {name} us"] = best_us(lambda encode=encode, value=value: encode(value))
    return figures


def main() -> None:
    """Print the figures as JSON, and as a table for whoever looks on."""
    results = {library: measure(library) for library in LIBRARIES}
    print(f"{'':20}" + "".join(f"{library:>12}" for library in LIBRARIES), file=sys.stderr)
    for name in results["msgspec"]:
        row = "".join(f"{results[library][name]:12.2f}" for library in LIBRARIES)
        print(f"{name:20}{row}", file=sys.stderr)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
