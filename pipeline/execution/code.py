"""Which code makes a node: its sources, those they import, and the versions of libraries."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))",
    re.MULTILINE,
)
_PROJECTS = ("pipeline", "workflows")
_DISTRIBUTIONS = {"picsl_greedy": "picsl-greedy"}
"""Distributions whose names are not those of their packages."""


@dataclass(frozen=True)
class CodeVersion:
    """What a result depends on besides the inputs."""

    sources: str
    """Digest of the sources of this project that the module needs."""
    libraries: tuple[tuple[str, str], ...]
    """Names and versions of the distributions that they import; empty where not installed."""


@cache
def code_version(module: str) -> CodeVersion:
    """Of a module, with all of this project that it imports, at its top or later.

    Data beside the modules, such as templates of pages, count as sources. Comments count, too.
    """
    if module.partition(".")[0] not in _PROJECTS:
        return _foreign(module)
    names = sorted(_reached(module))
    digest = hashlib.sha256()
    folders: dict[Path, None] = {}
    for name in names:
        path = _source(name)
        if path is None:
            continue
        digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
        folders[path.parent] = None
    for folder in folders:
        for path in _data_of(folder):
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    libraries = sorted({library for name in names for library in _imports(name).libraries})
    return CodeVersion(digest.hexdigest(), tuple((name, _version(name)) for name in libraries))


@dataclass(frozen=True)
class _Imports:
    own: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()


def _reached(module: str) -> set[str]:
    reached: set[str] = set()
    ahead = [module]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead.extend(_imports(name).own)
    return reached


@cache
def _imports(module: str) -> _Imports:
    path = _source(module)
    if path is None:
        return _Imports()
    named = set(imported_names(path.read_text(encoding="utf-8")))
    own = {name for name in named if name.partition(".")[0] in _PROJECTS}
    # `from package import name` may mean a module of the package, or what the package defines
    found = frozenset(name for name in own if _source(name) is not None)
    tops = {name.partition(".")[0] for name in named - own} - sys.stdlib_module_names
    return _Imports(found, frozenset(_DISTRIBUTIONS.get(top, top) for top in tops))


def imported_names(source: str) -> Iterator[str]:
    r"""Modules, and what may be modules, that a source imports anywhere in it.

    It reads lines, not syntax: ten times as fast, and what only looks like an import does no harm.

    Examples
    --------
    >>> sorted(imported_names("import os, a.b as c\nfrom d.e import (\n    f,\n    g as h,\n)\n"))
    ['a.b', 'd.e', 'd.e.f', 'd.e.g', 'os']
    """
    for package, names, modules in _IMPORT.findall(source):
        text = re.sub(r"#[^\n]*", "", names or modules).strip("() \t\n\\")
        words = [part.split()[0] for part in text.split(",") if part.split()]
        if package:
            yield package
        yield from (f"{package}.{word}" if package else word for word in words)


@cache
def _source(module: str) -> Path | None:
    """The file of a module of this project, found without importing it."""
    top, _, rest = module.partition(".")
    package = importlib.util.find_spec(top)
    if package is None or not package.submodule_search_locations:
        return None
    place = Path(package.submodule_search_locations[0]).joinpath(*rest.split(".") if rest else ())
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _data_of(folder: Path) -> tuple[Path, ...]:
    """Files that are no sources, in a folder of modules and in its folders without any."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix not in (".py", ".pyc", ".pyi") and path.name[0] != ".":
            found.append(path)
        elif path.is_dir() and path.name != "__pycache__" and not any(path.glob("*.py")):
            found += [inner for inner in sorted(path.rglob("*")) if inner.is_file()]
    return tuple(found)


def _foreign(module: str) -> CodeVersion:
    """Of an interface that comes with a library, or stands in a script or a test."""
    top = module.partition(".")[0]
    known = _version(top)
    if known or top in sys.stdlib_module_names:
        return CodeVersion("", ((top, known),))
    file = getattr(sys.modules.get(module), "__file__", None)
    source = Path(file).read_bytes() if file and Path(file).is_file() else b""
    return CodeVersion(hashlib.sha256(source).hexdigest(), ())


@cache
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
