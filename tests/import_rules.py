"""Reads the imports of Python source, and checks them against a table of what may import what."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Modules = Mapping[str, str]
"""Dotted name of a module, a package's `__init__` as the package itself -> its source."""


@dataclass(frozen=True)
class Import:
    """Line `line` of `module` imports `name`: a module, a package, or a name within one."""

    module: str
    line: int
    name: str


def read_modules(root: Path, *tops: str) -> dict[str, str]:
    """The modules of some packages (folders) and scripts (files) in `root`."""
    found = {}
    for top in tops:
        path = root / top
        for file in [path] if path.suffix == ".py" else sorted(path.rglob("*.py")):
            name = ".".join(file.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = file.read_text()
    return found


def imports(module: str, source: str, is_package: bool = False) -> Iterator[Import]:
    """Every import of a module, in functions too, but not under `if TYPE_CHECKING`.

    `from a import b` counts as a.b, as b may be a module; relative imports are resolved.
    `import_module("a.b")` with a literal counts too.
    """
    tree = ast.parse(source)
    of_types: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            of_types |= {id(child) for part in node.body for child in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in of_types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*parts, *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [str(part.value) for part in node.args[:1] if isinstance(part, ast.Constant)]
        else:
            continue
        yield from (Import(module, node.lineno, name) for name in names)


def longest_prefix(name: str, known: Collection[str]) -> str | None:
    """The longest dotted prefix of `name` that is known.

    >>> longest_prefix("a.b.c", ["a", "a.b"]), longest_prefix("ab.c", ["a"])
    ('a.b', None)
    """
    parts = name.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in known), None)


def all_imports(modules: Modules) -> Iterator[Import]:
    packages = {name.rpartition(".")[0] for name in modules}
    for module, source in modules.items():
        yield from imports(module, source, module in packages)


def violations(modules: Modules, allowed: Mapping[str, Collection[str]]) -> list[str]:
    """Imports of one package of the table by another that the table does not allow.

    Args:
        modules: the sources.
        allowed: package -> the packages that it may import besides itself. A module belongs to the
            entry with the longest prefix.
    """
    found = []
    for item in all_imports(modules):
        source, target = longest_prefix(item.module, allowed), longest_prefix(item.name, allowed)
        if source is None:
            found.append(f"{item.module} is in no package of the table")
        elif target is not None and target != source and target not in allowed[source]:
            found.append(f"{item.module}:{item.line} imports {item.name}: {source} may not import {target}")
    return sorted(set(found))


def module_circle(modules: Modules) -> list[str]:
    """Modules that import one another in a circle; empty if there are none."""
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for item in all_imports(modules):
        target = longest_prefix(item.name, modules)
        # A package is loaded before its modules whatever it imports, and its own import of them is no circle.
        if target is not None and target != item.module and not target.startswith(f"{item.module}."):
            graph[item.module].add(target)
    return circle(graph)


def circle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """The nodes of a circle, the first one repeated at the end; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def package_faults(modules: Modules, packages: Collection[str]) -> list[str]:
    """Packages whose docstring begins with no sentence, or whose `__all__` is not their sorted modules."""
    found = []
    for package in packages:
        tree = ast.parse(modules.get(package, ""))
        sentence = (ast.get_docstring(tree) or "").partition("\n\n")[0]
        if not sentence.endswith(".") or ". " in sentence:
            found.append(f"{package}: its docstring begins with {sentence!r}, not with one sentence")
        children = sorted(name.rpartition(".")[2] for name in modules if name.rpartition(".")[0] == package)
        children = [name for name in children if name.isidentifier()]  # PyInstaller names a hook hook-PACKAGE
        listed = None
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                listed = ast.literal_eval(node.value)
        if listed != children:
            found.append(f"{package}: __all__ is {listed}, its modules are {children}")
    return found
