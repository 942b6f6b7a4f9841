"""What is wrong with a declaration: found one by one, told all at once."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from bitvelocity.errors import DeclarationError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to write instead. `field` None: the entity itself."""

    what: str
    remedy: str
    field: str | None = None


class Wrong(Exception):  # noqa: N818  it never leaves the folder: `Problems` turns it into a `DeclarationError`
    """Stops the reading of one field; the others are read on."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class Problems:
    """Gathers the problems of one subject, so that they are told together."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.failed: set[str] = set()
        self._found: list[Problem] = []

    def at(self, field: str | None = None) -> _Noting:
        """Note a `Wrong` raised inside the block as a problem of `field`, and go on after the block."""
        return _Noting(self, field)

    def add(self, problem: Problem) -> None:
        if problem not in self._found:
            self._found.append(problem)
        if problem.field is not None:
            self.failed.add(problem.field)

    def raise_if_any(self, entity: str | None = None) -> None:
        """One `DeclarationError` for all that was found."""
        if not self._found:
            return
        told = [f"{self._path(problem)}: {problem.what}" for problem in self._found]
        if len(told) == 1:
            raise DeclarationError(told[0], entity=entity, remedy=self._found[0].remedy)
        lines = [f"{line}; {problem.remedy}" for line, problem in zip(told, self._found, strict=True)]
        raise DeclarationError(
            f"{len(lines)} problems\n  " + "\n  ".join(lines), entity=entity, remedy="correct each line above"
        )

    def _path(self, problem: Problem) -> str:
        return ".".join(part for part in (self.subject, problem.field) if part)


@dataclass(frozen=True, slots=True)
class _Noting:
    problems: Problems
    field: str | None

    def __enter__(self) -> None: ...

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if isinstance(error, Wrong):
            self.problems.add(Problem(error.what, error.remedy, self.field))
            return True
        return False
