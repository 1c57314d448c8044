# SPDX-License-Identifier: Apache-2.0
"""`typing.NamedTuple` without `typing`, whose import is a third of what this package may cost.

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        from typing import NamedTuple
    else:
        from agentcg.client.record import NamedTuple

Type checkers see the original. Fields are the annotations (as strings), defaults the values.
"""

from collections import namedtuple


class _Meta(type):
    def __new__(mcs, name, bases, namespace):
        if not bases:
            return super().__new__(mcs, name, bases, namespace)
        fields = namespace.get("__annotations__", {})
        defaults = [namespace[field] for field in fields if field in namespace]
        made = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])
        made.__doc__ = namespace.get("__doc__")
        return made


class NamedTuple(metaclass=_Meta):
    """Base of a record."""
