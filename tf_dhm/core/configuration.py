"""Configurations: frozen dataclasses whose fields declare their type and range, saved as JSON.

A range stands in the annotation of a field, as one of the types below or any `Annotated[..., Meta(...)]`
of msgspec. `check_fields`, called in `__post_init__`, checks all fields of a configuration however it was
made: by code, by a command line or from JSON.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from tf_dhm.core.errors import InputError

T = TypeVar("T")

Count = Annotated[int, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
"""A share or probability."""
Port = Annotated[int, Meta(ge=0, le=65_535)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]


def check_fields(config: Any) -> None:
    """Check every field of a dataclass against its annotation; numbers must be finite.

    Raises:
        InputError: names the first field that is wrong, what was found and what was expected.

    Example:
        @dataclass(frozen=True)
        class Blur:
            probability: Share = 0.1

            def __post_init__(self) -> None:
                check_fields(self)
    """
    for name, hint in _hints(type(config)).items():  # type: ignore[arg-type]
        value = getattr(config, name)
        _convert(value, hint, name)
        for number in _floats(value):
            if not math.isfinite(number):
                raise InputError(f"{name}: found {value}, expected finite numbers")


def from_dict(kind: type[T], values: Any, source: str) -> T:
    """Build a dataclass from the values of a JSON object, nested dataclasses too.

    A whole number is accepted for a float, but a bool is no number.

    Args:
        kind: the dataclass.
        values: what `json.loads` gave.
        source: the file, for messages.

    Raises:
        InputError: an option is unknown, missing, of another type or out of range; names `source` and
            the option.

    >>> from_dict(dataclasses.make_dataclass("Kind", [("count", int)]), {"count": 3}, "run.json")
    Kind(count=3)
    """
    for path, unknown, known in _unknown_options(kind, values):
        where = ": ".join([source, *([".".join(path)] if path else [])])
        raise InputError(f"{where}: found unknown options {unknown}, expected some of {known}")
    return _convert(values, kind, "", f"{source}: ")


def read_json(kind: type[T], path: Path) -> T:
    """Read a configuration from a JSON file; see `from_dict`.

    Raises:
        InputError: there is no such file, or it is not a configuration of this kind; names the file.
    """
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected {kind.__name__} as JSON")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:  # neither text nor JSON
        raise InputError(f"{path}: found {error}, expected JSON") from error
    return from_dict(kind, values, str(path))


def to_json(config: Any) -> str:
    """A configuration as JSON text that `read_json` reads."""
    return json.dumps(dataclasses.asdict(config), indent=2, default=str) + "\n"


def differences(found: Mapping[str, Any], expected: Mapping[str, Any], but: Collection[str] = ()) -> str:
    """Options of `expected` whose value in `found` differs, without the names in `but`; empty if none.

    >>> differences({"images": 32, "seed": 1}, {"images": 64, "seed": 2}, but=["seed"])
    'images 32, expected 64'
    """
    return "; ".join(
        f"{name} {found.get(name)!r}, expected {value!r}"
        for name, value in expected.items()
        if name not in but and found.get(name) != value
    )


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _convert(value: Any, hint: Any, field: str, source: str = "") -> Any:
    """Convert `value` to the type of a hint; InputError names the field."""
    try:
        return msgspec.convert(value, hint, dec_hook=_convert_other)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        steps = [name or int(index) for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path)]
        names = [field] if field else []
        names += [step for step in steps if isinstance(step, str)]
        where = source + (".".join(names) + ": " if names else "")
        if isinstance(error.__cause__, InputError):  # of the `__post_init__` of a nested configuration
            raise InputError(f"{where}{error.__cause__}") from error
        if missing := re.fullmatch(r"Object missing required field `(\w+)`", text):
            raise InputError(f"{where}found no {missing[1]}, expected a value") from error
        for step in steps:
            value = value[step]
            hint = _inner_hint(hint, step)
        choices = [str(item) for part in parts_of(hint) if typing.get_origin(part) is Literal
                   for item in typing.get_args(part)]  # fmt: skip
        if choices:
            expected = f"one of {', '.join(choices)}"
        else:
            expected = text.removeprefix("Expected ").partition(", got")[0].replace("`", "")
            expected = expected.replace("object", "options by name").replace("array", "a list")
        raise InputError(f"{where}found {value!r}, expected {expected}") from error


def _convert_other(kind: type, value: Any) -> Any:
    """Types that msgspec does not know."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, kind):
        return value
    raise ValueError(f"Expected `{kind.__name__}`")


def parts_of(hint: Any) -> list[Any]:
    """The members of a union, without the metadata of `Annotated`; for other hints the hint itself."""
    if typing.get_origin(hint) is Annotated:
        return parts_of(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return [part for member in typing.get_args(hint) for part in parts_of(member)]
    return [hint]


def _inner_hint(hint: Any, step: str | int) -> Any:
    """The hint of a field of a dataclass, or of an item of a tuple."""
    for part in parts_of(hint):
        if isinstance(step, str) and dataclasses.is_dataclass(part):
            return _hints(part)[step]  # type: ignore[arg-type]
        if isinstance(step, int) and typing.get_origin(part) is tuple:
            items = typing.get_args(part)
            return items[0] if items[-1] is Ellipsis else items[step]
    return Any


def _unknown_options(hint: Any, value: Any) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Path, unknown options and known options of each object whose dataclass lacks some."""
    for part in parts_of(hint):
        if dataclasses.is_dataclass(part) and isinstance(value, dict):
            hints = _hints(part)  # type: ignore[arg-type]
            if unknown := sorted(set(value) - set(hints)):
                yield [], unknown, sorted(hints)
            for name in set(value) & set(hints):
                for path, *rest in _unknown_options(hints[name], value[name]):
                    yield [name, *path], *rest  # type: ignore[misc]


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _floats(item)
