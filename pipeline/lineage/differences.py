"""Differences of nested settings, of tables by key, and of texts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

ABSENT = None


class Difference(NamedTuple):
    """A name with its two values; `ABSENT` where a side does not have it."""

    name: str
    before: Any
    after: Any


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists are values."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What differs between two nested mappings, sorted by dotted name."""
    first, second = flatten(before), flatten(after)
    return [
        Difference(name, first.get(name, ABSENT), second.get(name, ABSENT))
        for name in sorted(first.keys() | second.keys())
        if first.get(name, ABSENT) != second.get(name, ABSENT)
    ]
