# SPDX-License-Identifier: Apache-2.0
"""Values that a JSON Schema allows, for hypothesis: as much of the standard as our document uses.

A key of a schema that is not known here raises, so that the generator can never silently
ignore a bound that the document states.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
_KNOWN = {
    "$ref", "anyOf", "type", "enum", "title", "description", "default", "pattern", "minLength",
    "maxLength", "minimum", "maximum", "items", "maxItems", "properties", "required",
    "additionalProperties", "propertyNames", "maxProperties",
}  # fmt: skip
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


class Schemas:
    """Strategies for the schemas of one document. `fixed`: values for properties by name that
    a test must choose itself, such as process ids."""

    def __init__(self, components: dict[str, Schema], fixed: dict[str, Any]) -> None:
        self._components = components
        self._fixed = fixed

    def resolve(self, schema: Schema) -> Schema:
        """The schema that a reference stands for."""
        if "$ref" in schema:
            return self._components[schema["$ref"].rpartition("/")[2]]
        return schema

    def values(self, schema: Schema) -> st.SearchStrategy[Any]:
        """Values that `schema` allows."""
        schema = self.resolve(schema)
        if unknown := schema.keys() - _KNOWN:
            raise AssertionError(f"the generator makes no values for {sorted(unknown)}")
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        if not schema.keys() & {"anyOf", "type"}:  # anything
            return st.none() | st.booleans() | st.text(max_size=8) | st.lists(st.integers())
        if "anyOf" in schema:
            return st.one_of([self.values(option) for option in schema["anyOf"]])
        make = {
            "string": self._string, "integer": self._integer, "number": self._number,
            "boolean": lambda _: st.booleans(), "null": lambda _: st.none(),
            "array": self._array, "object": self._object,
        }[schema["type"]]  # fmt: skip
        return make(schema)

    @staticmethod
    def _string(schema: Schema) -> st.SearchStrategy[str]:
        if "pattern" in schema:
            return st.from_regex(
                schema["pattern"], fullmatch=True, alphabet=st.characters(codec="ascii")
            )
        low, high = schema.get("minLength", 0), schema.get("maxLength", 20)
        return st.text(st.characters(exclude_categories=["Cs"]), min_size=low, max_size=high)

    @staticmethod
    def _integer(schema: Schema) -> st.SearchStrategy[int]:
        return st.integers(schema.get("minimum"), schema.get("maximum"))

    @staticmethod
    def _number(schema: Schema) -> st.SearchStrategy[float]:
        return st.floats(
            schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False
        )

    def _array(self, schema: Schema) -> st.SearchStrategy[list[Any]]:
        return st.lists(self.values(schema["items"]), max_size=min(schema.get("maxItems", 3), 3))

    def _object(self, schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
        if "properties" not in schema:
            keys = self.values({"type": "string", **schema.get("propertyNames", {})})
            return st.dictionaries(keys, self.values(schema["additionalProperties"]), max_size=3)
        known = {name: self._property(name, part) for name, part in schema["properties"].items()}
        required = schema.get("required", ())
        return st.fixed_dictionaries(
            {name: known[name] for name in required},
            optional={name: part for name, part in known.items() if name not in required},
        )

    def _property(self, name: str, schema: Schema) -> st.SearchStrategy[Any]:
        return st.sampled_from(self._fixed[name]) if name in self._fixed else self.values(schema)

    def wrong(self, schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
        """Objects that `schema` does not allow: one thing about a good one is made wrong."""
        schema = self.resolve(schema)
        good = self._object(schema)
        unknown = _TEXT.filter(lambda name: name not in schema["properties"])
        ways = [
            st.tuples(good, unknown).map(lambda pair: {**pair[0], pair[1]: 1}),
            st.tuples(good, st.sampled_from(sorted(schema["properties"]))).map(
                lambda pair: {**pair[0], pair[1]: {"not": ["of", "any", "type"]}}
            ),
        ]
        if schema.get("required"):
            ways.append(good.map(lambda value: _without(value, schema["required"][0])))
        return st.one_of(ways)


def _without(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: part for key, part in value.items() if key != name}
