"""Configuration: frozen dataclasses that are saved as JSON beside every run and SavedModel."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from tf_dhm.core.errors import InputError

T = TypeVar("T")


def check_positive(config: Any, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise InputError(f"{name}: found {getattr(config, name)}, expected more than 0")


def check_range(config: Any, low: float, high: float, *names: str) -> None:
    """Both ends are allowed, but for infinity."""
    for name in names:
        value = getattr(config, name)
        if not low <= value <= high or math.isinf(value):
            expected = f"{low} or more" if math.isinf(high) else f"{low} to {high}"
            raise InputError(f"{name}: found {value}, expected {expected}")


def differences(found: Mapping[str, Any], expected: Mapping[str, Any], but: Collection[str] = ()) -> str:
    """What of `expected` is found otherwise, leaving out the names in `but`; empty where nothing is.

    >>> differences({"images": 32, "seed": 1}, {"images": 64, "seed": 2}, but=["seed"])
    'images 32, expected 64'
    """
    return "; ".join(
        f"{name} {found.get(name)!r}, expected {value!r}"
        for name, value in expected.items()
        if name not in but and found.get(name) != value
    )


def to_json(config: Any) -> str:
    """A configuration as JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2, default=str) + "\n"


def from_dict(kind: type[T], values: Any, source: str) -> T:
    """Build a dataclass from what JSON gave, nested dataclasses too.

    Raises:
        InputError: an option is unknown, missing or of another type; names `source` and option.
    """
    if not isinstance(values, dict):
        raise InputError(f"{source}: found {values!r}, expected options by name")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(fields)):
        raise InputError(f"{source}: found unknown options {unknown}, expected some of {sorted(fields)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{source}: found no {', '.join(missing)}, expected a value")
    hints = typing.get_type_hints(kind)
    return kind(**{key: _convert(hints[key], value, f"{source}: {key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, source: str) -> Any:
    """A JSON value as the type that `hint` says; InputError where it is another."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _convert(hint, value, source)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, source)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, source) for item in value)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{source}: found {value!r}, expected one of {', '.join(map(str, arguments))}")
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    # A bool is an int to Python, but no number of epochs.
    if hint is not Any and (
        not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool)
    ):
        raise InputError(f"{source}: found {value!r}, expected {expected.__name__}")
    return value


def read_json(kind: type[T], path: Path) -> T:
    """Read a configuration; InputError names the file where it is missing or not as expected."""
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected {kind.__name__} as JSON")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:  # neither text nor JSON
        raise InputError(f"{path}: found {error}, expected JSON") from error
    return from_dict(kind, values, str(path))
