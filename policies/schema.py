# SPDX-License-Identifier: Apache-2.0
"""The language as JSON Schema, generated from its tables; shipped as `schema.json`.

An editor that knows the schema completes keys and underlines mistakes while a policy is
being written. `python -m agentcg.policies` prints it.
"""

from __future__ import annotations

from typing import Any

from agentcg.policies.language import (
    EXTENDS_MAX,
    FILE_PATTERN,
    LABELS_MAX,
    LIST_MAX,
    RULES_MAX,
    SECTIONS,
    SHIPPED,
    VERSION,
    Key,
    Section,
)
from agentcg.policies.values import GlobKind


def schema() -> dict[str, Any]:
    """The language as JSON Schema (draft 2020-12): what editors check against."""
    properties: dict[str, Any] = {
        "version": {"const": VERSION, "description": "version of the policy language"}
    }
    properties["extends"] = _extends_schema()
    for section in SECTIONS:
        properties[section.name] = _section_schema(section)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agentcg policy",
        "type": "object",
        "additionalProperties": False,
        "required": ["version"],
        "properties": properties,
    }


def _extends_schema() -> dict[str, Any]:
    one = {"anyOf": [{"enum": list(SHIPPED)}, {"type": "string", "pattern": FILE_PATTERN}]}
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": EXTENDS_MAX}
    doc = "policies whose rules follow this file's: one that ships, or a file beside it"
    return {"description": doc, "anyOf": [one, several]}


def _section_schema(section: Section) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _key_schema(key) for key in section.settings},
    }
    if not section.rules:
        return {"description": section.doc, **body}
    match: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _key_schema(key) for key in section.match},
    }
    if section.labels:
        match["properties"]["labels"] = {
            "type": "object",
            "description": "labels it must have, each with a pattern",
            "minProperties": 1,
            "maxProperties": LABELS_MAX,
            "additionalProperties": GlobKind().schema,
        }
    body["properties"] = {"match": match, **body["properties"]}
    return {
        "description": section.doc,
        "type": "array",
        "maxItems": RULES_MAX,
        "items": body,
    }


def _key_schema(key: Key) -> dict[str, Any]:
    one = key.kind.schema
    if not key.many:
        return {"description": key.doc, **one}
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": LIST_MAX}
    return {"description": key.doc, "anyOf": [one, several]}


SCHEMA: dict[str, Any] = schema()
