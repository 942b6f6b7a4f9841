"""The last screen: the proof, the busiest days, one order's life, where everything lies, what to type next."""

from __future__ import annotations

from pathlib import Path

from ...changes import format_lsn
from ...flow import Database, Project, Verdict, open_reader
from ...serving import ask, trace
from ..tables import rich_table
from ..trace_view import show_trace
from ..verdicts import entity_sentence, model_sentence
from .screen import Screen
from .writer import Written

BUSIEST = """
select d.date, dayname(d.date) as weekday, s.order_count as orders,
       s.unique_customers as customers, s.total_revenue as revenue, s.avg_order_value as average
from gold.daily_sales s join gold.dim_date d on d.date_key = s.order_date_key
order by s.total_revenue desc limit 5
"""


def show_closing(
    screen: Screen, project: Project, database: Database, *, verdict: Verdict, written: Written
) -> None:
    """Print everything that a newcomer wants to see at the end."""
    _show_proof(screen, verdict)
    with open_reader(project) as reader:
        screen.heading("Gold: the busiest days")
        screen.console.print(rich_table(ask(reader, BUSIEST).rows))
        if written.corrected:
            screen.heading("One corrected order, from its first INSERT to gold")
            show_trace(screen.console, trace(reader, project.specs, project.models, "orders", written.corrected))
    _show_places(screen, project, database, written)


def _show_proof(screen: Screen, verdict: Verdict) -> None:
    word = "[green]Reconcile OK[/]" if verdict.ok else "[red]Reconcile FAILED[/]"
    screen.heading(f"{word} at {format_lsn(verdict.lsn)}")
    for entity in verdict.entities:
        screen.line(f"  {_mark(entity.ok)} silver.{entity.entity:<18} {entity_sentence(entity)}")
    for model in verdict.models:
        screen.line(f"  {_mark(model.ok)} gold.{model.model:<20} {model_sentence(model)}")


def _near(path: Path) -> Path:
    """As short as it can be typed from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _mark(ok: bool) -> str:  # noqa: FBT001
    return "[green]✓[/]" if ok else "[red]✗[/]"


def _show_places(screen: Screen, project: Project, database: Database, written: Written) -> None:
    screen.heading("Where it lies")
    screen.line(f"  project     {_near(project.root)}")
    screen.line(f"  lake        {_near(project.lake)}  (open Delta tables: bronze, silver, gold)")
    if database.server:
        screen.line(f"  PostgreSQL  {_near(database.server.data)}")
    screen.heading("Next")
    screen.line(f"  cd {_near(project.root)}")
    for words in (
        "bitvelocity up",
        "bitvelocity status",
        'bitvelocity query "select * from gold.dim_product limit 5"',
        f"bitvelocity trace orders {written.corrected or '<order_id>'}",
    ):
        screen.line(f"  {words}")
