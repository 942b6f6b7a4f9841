"""The real Debezium: configurations for it, made from a project; and its records as a source of changes."""

from .endpoint import Endpoint, endpoint
from .forms import FORMS, Form, render
from .options import Option, Plan, connector_options
from .repeats import ROW, SEQUENCE, Lane, State, new_changes, placed
from .secret import Secret, secret
from .transactions import Reached, Transactions, taken_before

__all__ = [
    "FORMS",
    "ROW",
    "SEQUENCE",
    "Endpoint",
    "Form",
    "Lane",
    "Option",
    "Plan",
    "Reached",
    "Secret",
    "State",
    "Transactions",
    "connector_options",
    "endpoint",
    "new_changes",
    "placed",
    "render",
    "secret",
    "taken_before",
]
