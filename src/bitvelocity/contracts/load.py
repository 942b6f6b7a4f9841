"""A user's file of entities becomes a checked, ordered set of specs."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

from bitvelocity.errors import DeclarationError

from .entity import Entity
from .sets import check_set, in_order
from .spec import EntitySpec


def load_specs(*sources: str | Path) -> tuple[EntitySpec, ...]:
    """The entities of files (`"entities.py"`) and modules (`"shop.entities"`), checked together.

    They come in an order in which their tables can be made: see `in_order`. A file is run again at every call, in a
    module of its own; files beside it may be imported by it.
    """
    classes = dict.fromkeys(entity for source in sources for entity in load_entities(source))
    specs = tuple(entity.spec for entity in classes)
    check_set(specs)
    return in_order(specs)


def load_entities(source: str | Path) -> tuple[type[Entity], ...]:
    """The entity classes of one file or module, in the order of their statements."""
    module = _run(Path(source)) if _is_file(source) else _import(str(source))
    entities = tuple(dict.fromkeys(value for value in vars(module).values() if _is_entity(value)))
    if not entities:
        raise DeclarationError(
            f"{source} declares no entity", remedy='write one: class Order(Entity, table="orders"): ...'
        )
    return entities


def _is_entity(value: object) -> TypeGuard[type[Entity]]:
    return isinstance(value, type) and issubclass(value, Entity) and value is not Entity


def _is_file(source: str | Path) -> bool:
    return isinstance(source, Path) or source.endswith(".py") or "/" in source


def _run(path: Path) -> ModuleType:
    """Execute the file as a module whose name no other file has."""
    if not path.is_file():
        raise DeclarationError(f"there is no file {path}", remedy="give the path of your entities.py")
    name = "bitvelocity_entities_" + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DeclarationError(f"{path} is not a Python file", remedy="give the path of your entities.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are resolved through it
    with _beside(path), _told(str(path)):
        try:
            with _leaving_no_trace():
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module


def _import(dotted: str) -> ModuleType:
    with _told(dotted):
        return importlib.import_module(dotted)


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Let the file import what lies beside it."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


@contextmanager
def _told(source: str) -> Iterator[None]:
    """Whatever goes wrong in the user's code becomes a `DeclarationError` with file and line."""
    try:
        yield
    except DeclarationError as error:
        error.position = error.position or _place(error, source)
        raise
    except SyntaxError as error:
        raise DeclarationError(
            f"Python cannot read the file: {error.msg}",
            position=f"{error.filename or source}:{error.lineno}",
            remedy="correct the line",
        ) from error
    except ImportError as error:
        raise DeclarationError(
            f"an import fails: {error}",
            position=_place(error, source),
            remedy="install or correct what is imported; `bitvelocity` runs in its own environment",
        ) from error
    except Exception as error:
        raise DeclarationError(
            f"the file stops with {type(error).__name__}: {error}",
            position=_place(error, source),
            remedy="correct the line",
        ) from error


def _place(error: BaseException, source: str) -> str:
    """The last line of the user's own code on the way to the error."""
    others = (str(Path(__file__).parent), "<frozen", *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(others):
            return f"{frame.filename}:{frame.lineno}"
    return source


@contextmanager
def _leaving_no_trace() -> Iterator[None]:
    """Reading a project writes nothing into its folder, compiled files neither."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
