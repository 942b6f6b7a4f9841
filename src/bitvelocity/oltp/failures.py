"""What PostgreSQL's own errors mean for a person who runs us."""

from __future__ import annotations

import psycopg

from ..errors import DatabaseError

REMEDIES = {
    "42501": "Run it as a role that may: the owner of the tables, with CREATE on the database.",
    "55P03": "Another transaction holds the table. Nothing is waiting behind us; try again when it is over.",
    "23505": "Rows break the new unique rule: find them (group by ... having count(*) > 1) and correct them.",
    "23514": "Rows break the new rule: correct them, then apply again. Or declare it as it was, and apply.",
    "23502": "Rows have NULL where the entity allows none: fill them, then apply again.",
    "23503": "Rows refer to rows that are not there: correct them, then apply again.",
    "2BP01": "Something else depends on it (a view, perhaps); drop or alter that first.",
    "0A000": "PostgreSQL cannot do this to a table in place; see the message.",
    "42P17": "If partitions overlap, the table has some of another step: declare the step that it was made with.",
    "42883": "The function is not there: correct the expression in the declaration, or create the function.",
    "42704": "The type is not there: correct the declaration, or create the type (an extension, perhaps).",
    "25006": "This server is read-only (a standby?); use the primary.",
}


def explained(
    error: psycopg.Error, *, doing: str, entity: str | None = None, safe: str = "Nothing was changed."
) -> DatabaseError:
    """A DatabaseError for what the server refused. Details that quote rows are left out."""
    code = error.sqlstate or ""
    said = (error.diag.message_primary or str(error)).strip()
    return DatabaseError(
        f"{doing} failed: {said}",
        entity=entity,
        safe=safe,
        remedy=REMEDIES.get(code, "See the message; correct the declaration or the database."),
        code=f"SQL{code}" if code else None,
    )
