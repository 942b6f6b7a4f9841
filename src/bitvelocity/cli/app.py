"""The command group. Commands are loaded when they are named: `--help` imports none of the engines."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from .. import __version__
from ..errors import BitVelocityError
from .lean import leave_pandas_out
from .output import print_error

COMMANDS: dict[str, str] = {
    "demo": "Replay a year of real retail life and watch it become a lakehouse that proves itself.",
    "init": "Make a project: the commerce example, ready to run and to change.",
    "adopt": "Write entities from an existing database, which stays as it is.",
    "apply": "Make the database what the entities say (shows the plan first).",
    "up": "Run continuously: capture, bronze, silver, gold.",
    "status": "Lag, freshness, rows and slot health, per station.",
    "recover": "After the slot was lost: find what was missed, deletes too, and go on.",
    "snapshot": "Read a table again while the stream runs: start, pause, resume, stop, status.",
    "query": "SQL over bronze, silver and gold.",
    "rebuild": "Make silver anew from bronze.",
    "reconcile": "Prove it: silver equals the source, gold equals its full recompute.",
    "trace": "Every change of one row: who, when, why, and where it stands now.",
    "changes": "Print changes as records: Debezium's format, unwrapped, or our own.",
    "dead-letters": "Records of topics that are no changes: list, show, replay, drop.",
    "bus": "The topics: copy them to another transport.",
    "schema": "The schema registry: serve, list, register, check, diff, export, import.",
    "debezium-config": "A configuration for the real Debezium: Server, Kafka Connect, Strimzi.",
    "audit": "Who changed what, and in the course of what: the audit trail of an entity.",
    "doctor": "Check everything that must be right, and say how to mend what is not.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".commands.{cmd_name.replace('-', '_')}", __package__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bitvelocity")
def cli() -> None:
    """Declare a business entity once; follow it to a number that proves itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; errors are sentences with a remedy, and exit codes say 1 (failed) or 2 (used wrongly)."""
    leave_pandas_out()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(words, prog_name="bitvelocity", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BitVelocityError as error:
        print_error(error, as_json="--json" in words)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
