"""A model's block rewritten: to find the keys that changed rows touch, and to compute those keys only.

What makes the keys complete:

- The other inputs are read as they stand at that moment, and inputs change one after the other: a gold row
  that loses, or gains, part of several inputs at once is found at the first, or the last, of them.
- More keys than needed do no harm. So joins and conditions that the keys do not need are left away.
- A row that appears on the optional side of a left join takes away the row that stood there with NULLs, and
  the other way round: where the key depends on that side, the keys of the unmatched form are asked for too.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from .block import DIALECT, Block, Source, aliases_in

ROWS = {"silver": "silver_rows", "gold": "gold_rows"}
"""Schema of a lake table -> schema of its rows in the state."""


def keys_sql(block: Block, changed: Source, changed_name: str, *, rows: bool = False) -> str:
    """Gives the touched keys `_k0, _k1, ...` for rows of one input; `changed_name` names those rows.

    `rows`: over the tables of the state instead of the lake's.
    """
    branches = [_keys(block, changed, changed_name, matched=True)]
    if hangs_on(block, changed):
        branches.append(_keys(block, changed, changed_name, matched=False))
    if rows:
        branches = [_on_rows(branch) for branch in branches]
    return " UNION ".join(branch.sql(DIALECT, comments=False) for branch in branches)


def hangs_on(block: Block, source: Source) -> bool:
    """Whether the key depends on what an optional table gives."""
    return source.optional and bool(block.key_aliases & block.dependents(source.alias))


def restricted_sql(block: Block, touched_name: str, stand_ins: Mapping[int, str], *, null_safe: bool) -> str:
    """The block for the keys in `touched_name`, each there once, only; its columns are not cast yet.

    The keys are joined right after the last table that they depend on, so that DuckDB starts from them;
    behind an optional table they only filter, or they would be multiplied with every row first. `stand_ins`
    are columns kept in the state for keys that are computed, by the number of the key.
    """
    select = block.select.copy()
    last = max(number for number, source in enumerate(block.sources) if source.alias in block.key_aliases)
    keys = [_stand_in(key, stand_ins.get(number)) for number, key in enumerate(block.keys)]
    touched = _touched(len(keys), touched_name)
    if any(source.optional for source in block.sources[: last + 1]):
        select.where(_is_touched(keys, touched, null_safe=null_safe), copy=False)
    else:
        joins: list[exp.Join] = select.args.get("joins") or []
        join = exp.Join(this=touched.subquery("_touched"), on=exp.and_(*_equal(keys, null_safe=null_safe)))
        select.set("joins", [*joins[:last], join, *joins[last:]])
    return _on_rows(select).sql(DIALECT, comments=False)


def _keys(block: Block, changed: Source, changed_name: str, *, matched: bool) -> exp.Select:
    """Keys of the block with changed rows in place of `changed`; not `matched`: as if none had matched."""
    needed = _needed(block, changed, matched=matched)
    columns = [exp.alias_(key.copy(), f"_k{number}", quoted=True) for number, key in enumerate(block.keys)]
    select = exp.Select(expressions=columns).distinct()
    for source in block.sources:
        if source.alias not in needed:
            continue
        conditions = [part.copy() for part in source.conditions if aliases_in(part) <= needed]
        if source is not changed:
            _append(select, _table(source), conditions, optional=source.optional)
        elif matched:
            _append(select, _named(changed_name, source.alias), conditions)
        else:
            _append(
                select, _named(changed_name, f"{source.alias}_probe"), _for_probe(conditions, source.alias)
            )
            _append(select, _table(source), [exp.false()], optional=True)
    for condition in _sure_conditions(block, needed):
        select.where(condition.copy(), copy=False)
    return select


def _sure_conditions(block: Block, needed: frozenset[str]) -> list[exp.Expr]:
    """Conditions over the tables at hand; not those on optional ones, which may be or have been NULL."""
    unsure = {
        alias for source in block.sources if source.optional for alias in block.dependents(source.alias)
    }
    read = [(condition, aliases_in(condition)) for condition in block.conditions]
    return [condition for condition, aliases in read if aliases and aliases <= needed - unsure]


def _needed(block: Block, changed: Source, *, matched: bool) -> frozenset[str]:
    """The fewest tables that connect the changed rows with the keys."""
    must = {changed.alias, *block.key_aliases}
    if matched and must == {changed.alias}:
        return frozenset(must)
    for source in reversed(block.sources):
        if source.alias in must and (source.optional or not matched):
            must |= source.needs
    needed = set(must)
    for source in reversed(block.sources):
        if source.alias in needed:
            needed |= source.needs
    for source in block.sources:
        if source.alias in needed - must and _connected(block, needed - {source.alias}):
            needed.discard(source.alias)
    return frozenset(needed)


def _connected(block: Block, aliases: set[str]) -> bool:
    conditions = [*block.conditions, *(part for source in block.sources for part in source.conditions)]
    links = [read for condition in conditions if (read := aliases_in(condition)) <= aliases]
    reached = {next(iter(aliases))}
    while grown := [link for link in links if link & reached and not link <= reached]:
        reached = reached.union(*grown)
    return reached == aliases


def _append(
    select: exp.Select, table: exp.Expr, conditions: list[exp.Expr], *, optional: bool = False
) -> None:
    """Add a table to FROM; conditions of the first one, which has no join, go to WHERE."""
    if select.args.get("from_") is None:
        select.set("from_", exp.From(this=table))
        for condition in conditions:
            select.where(condition, copy=False)
    elif conditions:
        select.append(
            "joins", exp.Join(this=table, side="LEFT" if optional else None, on=exp.and_(*conditions))
        )
    else:
        select.append("joins", exp.Join(this=table, kind="CROSS"))


def _table(source: Source) -> exp.Expr:
    schema, name = source.table.split(".")
    return exp.alias_(exp.table_(name, db=schema, quoted=True), source.alias, table=True, quoted=True)


def _named(name: str, alias: str) -> exp.Expr:
    return exp.alias_(exp.table_(name, quoted=True), alias, table=True, quoted=True)


def _for_probe(conditions: list[exp.Expr], alias: str) -> list[exp.Expr]:
    for column in (column for condition in conditions for column in condition.find_all(exp.Column)):
        if column.table == alias:
            column.set("table", exp.to_identifier(f"{alias}_probe", quoted=True))
    return conditions


def _on_rows(select: exp.Select) -> exp.Select:
    for table in select.find_all(exp.Table):
        if table.db in ROWS:
            table.set("db", exp.to_identifier(ROWS[table.db], quoted=True))
    return select


def _stand_in(key: exp.Expr, name: str | None) -> exp.Expr:
    return exp.column(name, next(iter(aliases_in(key))), quoted=True) if name else key


def _touched(keys: int, name: str) -> exp.Select:
    columns = [exp.column(f"_k{number}", quoted=True) for number in range(keys)]
    return exp.Select(expressions=columns).from_(exp.table_(name, quoted=True))


def _equal(keys: list[exp.Expr], *, null_safe: bool) -> list[exp.Expr]:
    same = exp.NullSafeEQ if null_safe else exp.EQ
    return [
        same(this=key.copy(), expression=exp.column(f"_k{number}", "_touched", quoted=True))
        for number, key in enumerate(keys)
    ]


def _is_touched(keys: list[exp.Expr], touched: exp.Select, *, null_safe: bool) -> exp.Expr:
    if not null_safe:
        return exp.In(this=exp.Tuple(expressions=[key.copy() for key in keys]), query=touched.subquery())
    found = exp.select("1").from_(touched.subquery("_touched")).where(*_equal(keys, null_safe=True))
    return exp.Exists(this=found)
