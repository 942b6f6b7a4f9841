"""What a model says that another engine (Spark) would answer differently: warnings, never errors.

Each rule was found by running the same expression on DuckDB and on Spark 4.2 and comparing the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify

from bitvelocity.contracts import EntitySpec

from .block import DIALECT, Schemas
from .model import Model
from .planner import schemas_for
from .silver import silver_schemas

Finding = tuple[exp.Expr, str, str]
"""Where, what, and what to write instead."""

_INTEGERS = (exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT, exp.DType.INT128)
_DOUBLES = (exp.DType.DOUBLE, exp.DType.FLOAT)
_ELSEWHERE = {
    "hash": "sha256() or md5() of text give the same everywhere",
    "quantile_cont": "engines interpolate differently: quantile_disc gives a value that is there",
    "dayofweek": "isodow: 1 is Monday, 7 is Sunday, everywhere",
    "weekday": "isodow: 1 is Monday, 7 is Sunday, everywhere",
    "len": "length() of text, array_length() of lists",
}


@dataclass(frozen=True, slots=True)
class LintWarning:
    """Something that other engines answer differently."""

    model: str
    line: int
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.model}.sql:{self.line}: {self.what}: {self.remedy}"


def lint(models: Iterable[Model], specs: Iterable[EntitySpec]) -> tuple[LintWarning, ...]:
    """The warnings of all models, in their order."""
    models = tuple(models)
    schemas = schemas_for(models, silver_schemas(specs))
    return tuple(warning for model in models for warning in _lint(model, schemas))


def _lint(model: Model, schemas: Schemas) -> Iterator[LintWarning]:
    try:
        tree = sqlglot.parse_one(model.sql, read=DIALECT)
        lines = {id(node): _line(node) for node in tree.walk()}
        plain: dict[str, object] = {
            schema: {table: dict(columns) for table, columns in tables.items()}
            for schema, tables in schemas.items()
        }
        tree = annotate_types(qualify(tree, schema=plain, dialect=DIALECT), schema=plain, dialect=DIALECT)
    except SqlglotError:
        yield LintWarning(
            model.name, model.lines["sql"], "the SQL cannot be carried to other engines", "write it plainer"
        )
        return
    seen: set[tuple[int, str]] = set()
    for rule in RULES:
        for node, what, remedy in rule(tree):
            line = model.lines["sql"] + (lines.get(id(node)) or _line(node) or 1) - 1
            if (line, what) not in seen:
                seen.add((line, what))
                yield LintWarning(model.name, line, what, remedy)


def _line(node: exp.Expr) -> int | None:
    return next((part.meta["line"] for part in node.walk() if "line" in part.meta), None)


def _division(tree: exp.Expr) -> Iterator[Finding]:
    for node in tree.find_all(exp.Div):
        if not node.this.is_type(*_DOUBLES) and not node.expression.is_type(*_DOUBLES):
            remedy = "cast(cast(a as double) / nullif(b, 0) as decimal(p, s))"
            yield node, "a division of decimals or integers is a double here and a decimal elsewhere", remedy


def _average(tree: exp.Expr) -> Iterator[Finding]:
    for node in tree.find_all(exp.Avg):
        if not node.this.is_type(*_DOUBLES):
            remedy = "cast(cast(sum(x) as double) / nullif(count(x), 0) as decimal(p, s))"
            yield node, "avg of decimals is rounded differently elsewhere", remedy


def _rounding(tree: exp.Expr) -> Iterator[Finding]:
    for node in tree.find_all(exp.Cast):
        fractional = node.this.is_type(*_DOUBLES, exp.DType.DECIMAL)
        said = isinstance(node.this, (exp.Floor, exp.Ceil, exp.Round, exp.Trunc))
        if node.to.is_type(*_INTEGERS) and fractional and not said:
            yield (
                node,
                "a cast to an integer rounds here and cuts off elsewhere",
                "say floor(), ceil() or round()",
            )


def _float_sums(tree: exp.Expr) -> Iterator[Finding]:
    for node in tree.find_all(exp.Sum):
        if node.this.is_type(*_DOUBLES):
            yield (
                node,
                "a sum of doubles depends on the order of the rows",
                "sum decimals, or accept the last digits",
            )


def _months(tree: exp.Expr) -> Iterator[Finding]:
    for node in tree.find_all(exp.DateDiff):
        if str(node.args.get("unit") or "").strip("'").upper() in ("MONTH", "YEAR", "QUARTER", "WEEK"):
            remedy = "year(b) * 12 + month(b) - year(a) * 12 - month(a)"
            yield node, "date_diff counts boundaries here and full units elsewhere", remedy


def _truncation(tree: exp.Expr) -> Iterator[Finding]:
    for node in tree.find_all(exp.DateTrunc, exp.TimestampTrunc):
        if not isinstance(node.parent, exp.Cast):
            yield (
                node,
                "date_trunc gives a timestamp here and a date elsewhere",
                "cast(date_trunc(...) as date)",
            )


def _date_arithmetic(tree: exp.Expr) -> Iterator[Finding]:
    for node in tree.find_all(exp.Add, exp.Sub):
        if isinstance(node.expression, exp.Interval) and not isinstance(node.parent, exp.Cast):
            yield node, "date + interval gives a timestamp here and a date elsewhere", "cast(... as date)"


def _regexp(tree: exp.Expr) -> Iterator[Finding]:
    for node in tree.find_all(exp.RegexpReplace):
        if "g" not in str(node.args.get("modifiers") or ""):
            yield node, "regexp_replace replaces the first match here and all elsewhere", "give it 'g'"


def _from_zero(tree: exp.Expr) -> Iterator[Finding]:
    for node in tree.find_all(exp.Substring):
        if node.args.get("start") == exp.Literal.number(0):
            yield node, "substring from 0 differs between engines", "positions begin at 1"


def _functions(tree: exp.Expr) -> Iterator[Finding]:
    for node in tree.find_all(exp.Func):
        name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()
        alias = {
            "dayofweek": "dayofweek",
            "day_of_week": "dayofweek",
            "percentile_cont": "quantile_cont",
        }.get(name, name)
        if alias in _ELSEWHERE:
            yield node, f"{alias}() differs between engines", _ELSEWHERE[alias]


RULES: tuple[Callable[[exp.Expr], Iterator[Finding]], ...] = (
    _division,
    _average,
    _rounding,
    _float_sums,
    _months,
    _truncation,
    _date_arithmetic,
    _regexp,
    _from_zero,
    _functions,
)
