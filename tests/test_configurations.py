"""Every field of every configuration of the project is checked: its type, that it is finite, its range."""

from __future__ import annotations

import dataclasses
import importlib
import types
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.import_rules import read_modules
from tf_dhm.core.errors import InputError

ROOT = Path(__file__).parents[1]
FOLDERS = ["tf_dhm", "pipelines", "tools/studies"]
WITHOUT_JAX = ["tools/jax_training/options.py"]
SCRIPTS = ["adapt.py", "evaluate.py", "export.py", "prepare.py", "benchmark.py"]
REQUIRED: dict[Any, Any] = {
    tuple[Path, ...]: (Path("x"),),
    tuple[str, ...]: ("fast_dhm",),
    str: "localhost:8500",
    Path: Path("folder"),
    int: 64,
}
"""Values of fields without a default."""
ANY_NUMBER = {"Adapter.mean", "Adapter.crop_shift", "LoadConfig.box"}
"""Fields with numbers of which none is out of range."""
BELOW_ALL, WRONG_TYPE = -(10**9), object()


@cache
def configurations() -> dict[str, type]:
    """Dataclasses called Config, Options or Adapter at the end, by their names."""
    found = {}
    for module, source in read_modules(ROOT, *FOLDERS, *WITHOUT_JAX, *SCRIPTS).items():
        if "@dataclass" not in source:
            continue
        for name, kind in vars(importlib.import_module(module)).items():
            if (
                isinstance(kind, type)
                and dataclasses.is_dataclass(kind)
                and name.endswith(("Config", "Options", "Adapter"))
                and kind.__module__ == module
            ):
                found[f"{module}.{name}"] = kind
    return found


def numbers_in(hint: Any) -> set[type]:
    """int and float, if a value of this type is or holds such a number."""
    if hint in (int, float):
        return {hint}
    if typing.get_origin(hint) in (tuple, typing.Union, types.UnionType, typing.Annotated):
        return set().union(*(numbers_in(part) for part in typing.get_args(hint)))
    return set()


def filled(hint: Any, value: Any) -> Any:
    """`value` at the place of the number in this type: in a tuple, as its only item."""
    if typing.get_origin(hint) is typing.Annotated:
        return filled(typing.get_args(hint)[0], value)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return filled(next(part for part in typing.get_args(hint) if numbers_in(part)), value)
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        return tuple(filled(item, value) for item in items if item is not Ellipsis)
    return value


def made(kind: type, /, **values: Any) -> Any:
    """An instance, with made values for the fields that have no default."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        absent = field.default is field.default_factory is dataclasses.MISSING
        if absent and field.name not in values:
            hint = hints[field.name]
            values[field.name] = (
                made(hint) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else REQUIRED[hint]
            )
    return kind(**values)


def faults(kind: type) -> Iterator[tuple[str, Any]]:
    """(field, wrong value) of each field."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        yield field.name, WRONG_TYPE
        numbers = numbers_in(hint)
        if float in numbers:
            yield field.name, filled(hint, float("nan"))
            yield field.name, filled(hint, float("inf"))
        if numbers and f"{kind.__name__}.{field.name}" not in ANY_NUMBER:
            yield field.name, filled(hint, numbers.pop()(BELOW_ALL))


@pytest.mark.parametrize("name", sorted(configurations()))
def test_every_field_is_checked(name: str) -> None:
    kind = configurations()[name]
    made(kind)
    for field, value in faults(kind):
        # The failure of `raises` shows neither the field nor the value.
        print(f"{field} = {value!r}")
        with pytest.raises(InputError) as caught:
            made(kind, **{field: value})
        assert field in str(caught.value).replace("-", "_")


def test_the_configurations_are_found() -> None:
    names = {name.rpartition(".")[2] for name in configurations()}
    assert names >= {
        "ModelConfig",
        "TrainConfig",
        "AugmentConfig",
        "TrackingConfig",
        "AlignConfig",
        "Options",
    }
