"""From built-in types, as JSON holds them, to the records: every field checked once, at the border."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from results.records import check_fields

T = TypeVar("T")


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """The record of class ``cls`` that ``results.records.to_dict`` turned into ``data``.

    Args:
        cls: A dataclass of ``results.records``.
        data: A mapping of its fields; fields with a default may be missing.
        where: Names the source in errors, e.g. ``"run.json"``.

    Raises:
        ValueError: A field is unknown, missing, or of the wrong type; the message names it.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: got {data!r}, expected an object with the fields of {cls.__name__}")
    check_fields(cls, data, where)
    hints = get_type_hints(cls)
    values = {}
    for field in fields(cls):  # type: ignore[arg-type]  # T is always a dataclass here
        if field.name in data:
            values[field.name] = _parse(hints[field.name], data[field.name], f"{where}, {field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}: got no field {field.name!r}, expected one, as {cls.__name__} needs it")
    return cls(**values)


def _parse(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the annotated type ``hint``; JSON's lists become tuples and its keys integers again."""
    if is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _parse_enum(hint, value, where)
    parse = _BY_ORIGIN.get(get_origin(hint))
    if parse is not None:
        return parse(hint, value, where)
    if hint is float and _is(value, int):
        return float(value)
    if not _is(value, hint):
        raise _mismatch(hint, value, where)
    return value


def _parse_enum(hint: type[Enum], value: Any, where: str) -> Enum:
    try:
        return hint(value)
    except ValueError:
        raise ValueError(f"{where}: got {value!r}, expected one of {[member.value for member in hint]}") from None


def _parse_union(hint: Any, value: Any, where: str) -> Any:
    members = get_args(hint)
    for member in members:
        if isinstance(member, type) and _is(value, member):
            return value
    others = [member for member in members if member is not types.NoneType]
    if len(others) == 1:
        return _parse(others[0], value, where)
    raise _mismatch(hint, value, where)


def _parse_tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    members = get_args(hint)
    if isinstance(value, list | tuple) and members[-1] is Ellipsis:  # any number of one type
        return tuple(_parse(members[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if not isinstance(value, list | tuple) or len(value) != len(members):
        raise _mismatch(hint, value, where)
    return tuple(_parse(member, item, where) for member, item in zip(members, value, strict=True))


def _parse_mapping(hint: Any, value: Any, where: str) -> dict[Any, Any]:
    key_hint, value_hint = get_args(hint)
    if not isinstance(value, Mapping):
        raise _mismatch(hint, value, where)
    return {
        _parse_key(key_hint, key, where): _parse(value_hint, item, f"{where}[{key!r}]") for key, item in value.items()
    }


def _parse_key(hint: type, key: Any, where: str) -> Any:
    if hint is int and isinstance(key, str):
        try:
            return int(key)
        except ValueError:
            raise _mismatch(hint, key, f"{where}, a key") from None
    return _parse(hint, key, where)


def _is(value: Any, hint: type) -> bool:
    """``isinstance``, but a bool is no int."""
    return isinstance(value, hint) and not (isinstance(value, bool) and hint is int)


def _mismatch(hint: Any, value: Any, where: str) -> ValueError:
    expected = hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)
    return ValueError(f"{where}: got {value!r} ({type(value).__name__}), expected {expected}")


_BY_ORIGIN: dict[Any, Callable[[Any, Any, str], Any]] = {
    Union: _parse_union,
    types.UnionType: _parse_union,
    tuple: _parse_tuple,
    Mapping: _parse_mapping,
}
