"""`bitvelocity doctor`: what is right, what is not, and how to mend it."""

from __future__ import annotations

from pathlib import Path

import click

from ...flow import diagnose
from ..output import json_option, print_json, project_option, say


@click.command(short_help="Check everything that must be right; say how to mend what is not.")
@project_option
@json_option
@click.pass_context
def command(context: click.Context, folder: Path, as_json: bool) -> None:
    """Check the machine, the project, the source database, the slot and the lake. Changes nothing.

    Exit code 1 when something must be mended.
    """
    checks = diagnose(folder)
    if as_json:
        print_json({"ok": all(check.ok for check in checks), "checks": checks})
    else:
        for check in checks:
            say(f"  {'ok  ' if check.ok else 'MEND'}  {check.name:<22} {check.what}", fg=None if check.ok else "red")
            if check.remedy and not check.ok:
                say(f"        {'':<22} Remedy: {check.remedy}")
    context.exit(0 if all(check.ok for check in checks) else 1)
