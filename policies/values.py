# SPDX-License-Identifier: Apache-2.0
"""The kinds of value a policy can hold: how each is written, checked and described.

Values are read from the text as it stands in the file, never through YAML's own guesses
about types, so that `no` is a name, `0x10` is not a number and `.nan` is not a size. Each
kind also gives its part of the JSON Schema, so that the two cannot drift apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from agentcg.errors import InvalidInput
from agentcg.policies.mistakes import suggestion
from agentcg.policies.patterns import GLOB_MAX_CHARS, Glob
from agentcg.units import parse_duration, parse_size

MAX = "max"  # the kernel's own word for "no limit"
SIZE_MIN_BYTES = 1 << 20
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%")
_INTEGER = re.compile(r"\d{1,12}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}")
_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_DECIMAL = re.compile(r"\d{1,6}(?:\.\d{1,6})?")


class Kind(Protocol):
    """How one value is written. `plain`: not in quotes, as numbers are."""

    plain: bool

    @property
    def rule(self) -> str:
        """What a right value looks like, to be read after "is not valid:"."""

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the value."""

    def parse(self, text: str) -> Any:
        """Value of `text`; raises ValueError with a rule ("" = the kind's own)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """An amount of memory: bytes, a share of some whole, or (both None) no limit."""

    bytes: int | None = None
    share: float | None = None  # 0 to 1

    def of(self, whole_bytes: int) -> int | None:
        """Bytes, where a share is one of `whole_bytes`; None: no limit."""
        return self.bytes if self.share is None else int(whole_bytes * self.share)


@dataclass(frozen=True, slots=True)
class MemoryKind:
    """A size, a percentage, or `max`. `zero`: whether 0 makes sense (protection: yes)."""

    zero: bool = False
    unlimited: bool = True
    plain = False

    @property
    def rule(self) -> str:
        """A size such as 512M ..."""
        last = ", a percentage such as 50%, or max" if self.unlimited else " or a percentage"
        return f"a size such as 512M or 1.5G (at least {'0' if self.zero else '1M'}){last}"

    @property
    def schema(self) -> dict[str, Any]:
        """Bytes as a number, or a string with a unit."""
        size = r"[0-9]+(\.[0-9]+)?\s*[KMGTkmgt]?([iI]?[bB])?"
        words = rf"^({size}|[0-9]+(\.[0-9]+)?%{'|max' if self.unlimited else ''})$"
        low = 0 if self.zero else SIZE_MIN_BYTES
        return {
            "anyOf": [
                {"type": "integer", "minimum": low, "maximum": 1 << 50},
                {"type": "string", "pattern": words},
            ]
        }

    def parse(self, text: str) -> Memory:
        """`Memory` of `text`."""
        if text == MAX and self.unlimited:
            return Memory()
        percent = _PERCENT.fullmatch(text)
        if percent is not None:
            return Memory(share=_share(float(percent[1]), self.zero))
        try:
            size_bytes = parse_size(text)
        except InvalidInput as error:
            raise ValueError("" if error.rule.startswith("a size") else error.rule) from None
        if size_bytes < SIZE_MIN_BYTES and not (self.zero and size_bytes == 0):
            raise ValueError("at least 1M" if not self.zero else "0 or at least 1M")
        return Memory(bytes=size_bytes)


def _share(percent: float, zero: bool) -> float:
    if percent > 100 or (percent == 0 and not zero):
        raise ValueError(f"a percentage from {'0' if zero else 'above 0'} to 100")
    return percent / 100


@dataclass(frozen=True, slots=True)
class ShareKind:
    """A percentage from 0 to 100, as a share from 0 to 1."""

    plain = False
    rule = "a percentage from 0% to 100%"
    schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "pattern": r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]{1,3})?)%$",
    }

    def parse(self, text: str) -> float:
        """The share."""
        percent = _PERCENT.fullmatch(text)
        if percent is None or float(percent[1]) > 100:
            raise ValueError("")
        return float(percent[1]) / 100


@dataclass(frozen=True, slots=True)
class SwitchKind:
    """On or off. YAML itself reads these words as a boolean, without quotes."""

    plain = True
    rule = "true or false"
    schema: ClassVar[dict[str, Any]] = {"type": "boolean"}

    def parse(self, text: str) -> bool:
        """The boolean."""
        if text.lower() not in _SWITCH:
            raise ValueError("")
        return _SWITCH[text.lower()]


@dataclass(frozen=True, slots=True)
class CpusKind:
    """CPU time as a number of CPUs, such as 1.5, or `max`."""

    low: float
    high: float
    plain = True

    @property
    def rule(self) -> str:
        """The range in words."""
        return f"a number of CPUs from {self.low:g} to {self.high:g}, such as 1.5, or max"

    @property
    def schema(self) -> dict[str, Any]:
        """The range as a schema."""
        number = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"const": MAX}]}

    def parse(self, text: str) -> float | None:
        """CPUs; None for `max`."""
        if text == MAX:
            return None
        if _DECIMAL.fullmatch(text) is None or not self.low <= float(text) <= self.high:
            raise ValueError("")
        return float(text)


@dataclass(frozen=True, slots=True)
class NameKind:
    """A name: letters, digits and `_-./`, at most 63 characters."""

    plain = False
    rule = "1 to 63 letters, digits and _ - . /, the first a letter or a digit"
    schema: ClassVar[dict[str, Any]] = {
        "type": ["string", "number"],
        "pattern": r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$",
    }

    def parse(self, text: str) -> str:
        """The name itself."""
        if _NAME.fullmatch(text) is None:
            raise ValueError("")
        return text


@dataclass(frozen=True, slots=True)
class IntegerKind:
    """A whole number from `low` to `high`; `unlimited`: `max` as well."""

    low: int
    high: int
    unlimited: bool = False
    plain = True

    @property
    def rule(self) -> str:
        """The range in words."""
        last = ", or max" if self.unlimited else ""
        return f"a whole number from {self.low} to {self.high}{last}"

    @property
    def schema(self) -> dict[str, Any]:
        """The range as a schema."""
        number = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"const": MAX}]} if self.unlimited else number

    def parse(self, text: str) -> int | None:
        """The number; None for `max`."""
        if text == MAX and self.unlimited:
            return None
        if _INTEGER.fullmatch(text) is None or not self.low <= int(text) <= self.high:
            raise ValueError("")
        return int(text)


@dataclass(frozen=True, slots=True)
class FactorKind:
    """A factor such as 1.25, from `low` to `high`."""

    low: float
    high: float
    plain = True

    @property
    def rule(self) -> str:
        """The range in words."""
        return f"a factor from {self.low:g} to {self.high:g}, such as 1.25"

    @property
    def schema(self) -> dict[str, Any]:
        """The range as a schema."""
        return {"type": "number", "minimum": self.low, "maximum": self.high}

    def parse(self, text: str) -> float:
        """The factor."""
        if _DECIMAL.fullmatch(text) is None or not self.low <= float(text) <= self.high:
            raise ValueError("")
        return float(text)


@dataclass(frozen=True, slots=True)
class DurationKind:
    """A duration from 0 to `high_s` seconds."""

    high_s: float
    plain = False

    @property
    def rule(self) -> str:
        """The form in words."""
        return f"a duration such as 500ms, 30s or 5m, at most {self.high_s:g}s"

    @property
    def schema(self) -> dict[str, Any]:
        """Seconds as a number, or a string with a unit."""
        return {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": self.high_s},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)?$"},
            ]
        }

    def parse(self, text: str) -> float:
        """Seconds."""
        try:
            duration_s = parse_duration(text)
        except InvalidInput:
            raise ValueError("") from None
        if duration_s > self.high_s:
            raise ValueError("")
        return duration_s


@dataclass(frozen=True, slots=True)
class WordKind:
    """One of a fixed set of words."""

    words: tuple[str, ...]
    plain = False

    @property
    def rule(self) -> str:
        """The words, listed."""
        return f"one of {', '.join(self.words)}"

    @property
    def schema(self) -> dict[str, Any]:
        """An enumeration."""
        return {"enum": list(self.words)}

    def parse(self, text: str) -> str:
        """The word itself."""
        if text not in self.words:
            raise ValueError(self.rule + suggestion(text, self.words))
        return text


@dataclass(frozen=True, slots=True)
class GlobKind:
    """A glob pattern of 1 to `GLOB_MAX_CHARS` characters."""

    plain = False

    @property
    def rule(self) -> str:
        """The form in words."""
        return f"a pattern of 1 to {GLOB_MAX_CHARS} characters; * stands for anything"

    @property
    def schema(self) -> dict[str, Any]:
        """A bounded string; numbers are taken as they are written."""
        return {"type": ["string", "number"], "minLength": 1, "maxLength": GLOB_MAX_CHARS}

    def parse(self, text: str) -> Glob:
        """The compiled pattern."""
        if not 0 < len(text) <= GLOB_MAX_CHARS or "\0" in text:
            raise ValueError("")
        return Glob.compile(text)
