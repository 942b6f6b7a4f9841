"""`bitvelocity doctor`: what is right, what is not, and how to mend it."""

from __future__ import annotations

from pathlib import Path

import click

from ...flow import diagnose
from ..output import json_option, print_json, project_option, say

WORDS = {"ok": ("ok  ", None), "warn": ("warn", "yellow"), "bad": ("MEND", "red")}


@click.command(short_help="Check everything that must be right; say how to mend what is not.")
@project_option
@json_option
@click.pass_context
def command(context: click.Context, folder: Path, as_json: bool) -> None:
    """Check the machine, the project, the source database, the slot and the lake. Changes nothing.

    MEND: capture cannot go on, or something is lost or breaks. warn: it works, and may cost something one day. A remedy
    that is a statement can be pasted as it stands. Exit code 1 when something must be mended.
    """
    checks = diagnose(folder)
    if as_json:
        print_json({"ok": all(check.ok for check in checks), "checks": [check.as_dict() for check in checks]})
    else:
        for check in checks:
            word, colour = WORDS[check.state]
            say(f"  {word}  {check.name:<26} {check.what}", fg=colour)
            if check.remedy:
                say(f"        {'':<26} Remedy: {check.remedy}")
    context.exit(0 if all(check.ok for check in checks) else 1)
