# SPDX-License-Identifier: Apache-2.0
"""From bytes and query strings to checked requests; mistakes by field, value and rule. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from agentcg.daemon.api.problems import MALFORMED, Refused
from agentcg.errors import InvalidInput

_Request = TypeVar("_Request", bound=msgspec.Struct)

_UNKNOWN = re.compile(
    r"Object contains unknown field `(?P<name>.*?)`(?: - at `(?P<at>.*)`)?$", re.S
)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*?)`")
_AT = re.compile(r"^(?P<rule>.*) - at (?P<key>`key` in )?`\$(?P<path>.*)`$", re.S)
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]")


def body(raw: bytes, kind: type[_Request]) -> _Request:
    """The request in `raw`; an empty body stands for an empty object."""
    raw = raw or b"{}"
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), kind, _plain(raw)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(
            HTTPStatus.BAD_REQUEST, MALFORMED, f"the body is not JSON: {error}{_position(error)}"
        ) from error


def query(given: Mapping[str, str], kind: type[_Request]) -> _Request:
    """The query parameters in `given`."""
    try:
        return msgspec.convert(dict(given), kind, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), kind, given) from error


def _plain(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _position(error: Exception) -> str:
    return f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""


def _invalid(message: str, kind: type[msgspec.Struct], given: Any) -> InvalidInput:
    """msgspec's sentence taken apart: which field, which value, which rule."""
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    if unknown := _UNKNOWN.match(message):
        return _unknown(unknown["name"], given, names)
    if missing := _MISSING.match(message):
        return InvalidInput(missing["name"], None, "required")
    if at := _AT.match(message):
        field, value = _find(at["path"], given)
        if at["key"]:  # which key, msgspec does not say
            field, value = f"key of {field}", list(value)[:4] if value else None
        return InvalidInput(field or "body", value, _rule(at["rule"]))
    return InvalidInput("body", given, _rule(message))


def _unknown(name: str, given: Any, names: list[str]) -> InvalidInput:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    rule = f"known fields are {', '.join(names)}" if names else "nothing can be given here"
    value = given.get(name) if isinstance(given, Mapping) else None
    return InvalidInput(name, value, rule, remedy=f"did you mean {near[0]}?" if near else "")


def _find(path: str, given: Any) -> tuple[str, Any]:
    """The dotted name of a path such as `.labels[...]`, and the value there."""
    value = given
    for name, index in _STEP.findall(path):
        try:
            if index == "...":  # some value of a mapping: msgspec does not say which
                break
            value = value[int(index)] if index else value[name]
        except (LookupError, TypeError):
            value = None
    return path.lstrip("."), value


def _rule(text: str) -> str:
    """ "Expected `int`, got `str`" as a rule."""
    return text.replace("Expected ", "must be ", 1).replace("`", "")
