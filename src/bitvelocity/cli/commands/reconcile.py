"""`bitvelocity reconcile`: the proof."""

from __future__ import annotations

from pathlib import Path

import click

from ...changes import format_lsn
from ...flow import Verdict, open_project, reconcile, source_database
from ..output import json_option, print_json, project_option, say
from ..verdicts import entity_sentence, model_sentence

REMEDY = "bitvelocity status says what was altered. Stop up; bitvelocity recover --force reads what differs, deletes too."


@click.command(short_help="Prove that silver equals the source and gold its full recompute.")
@project_option
@json_option
@click.pass_context
def command(context: click.Context, folder: Path, as_json: bool) -> None:
    """At one position of the source: silver equals the tables, gold equals its full recompute, to the cent.

    Works while the source is written to and `up` runs; without `up` it brings the lake up to date itself.
    Exit code 1 when anything differs.
    """
    project = open_project(folder)
    with source_database(project) as database:
        verdict = reconcile(project, database, (lambda _: None) if as_json else lambda text: say(text, dim=True))
    if as_json:
        print_json(verdict.as_dict())
    else:
        print_verdict(verdict)
    context.exit(0 if verdict.ok else 1)


def print_verdict(verdict: Verdict) -> None:
    """One line per entity and model; what differs is named."""
    for entity in verdict.entities:
        _line(entity.ok, f"silver.{entity.entity}", entity_sentence(entity))
    for model in verdict.models:
        _line(model.ok, f"gold.{model.model}", model_sentence(model))
    for name in verdict.uncompared:
        say(f"  --    bronze.{name:<28} has no key, so it has no silver to compare", dim=True)
    colour = "green" if verdict.ok else "red"
    word = "Reconcile OK" if verdict.ok else "Reconcile FAILED"
    say(f"{word} at {format_lsn(verdict.lsn)} ({verdict.seconds:.1f} s).", fg=colour, bold=True)
    if not all(entity.ok for entity in verdict.entities):
        say(f"  Remedy: {REMEDY}")


def _line(ok: bool, name: str, text: str) -> None:
    say(f"  {'ok  ' if ok else 'DIFF'}  {name:<28} {text}", fg=None if ok else "red")
