"""The real Debezium: configurations for it, made from a project; and its records as a source of changes."""

from .endpoint import Endpoint, endpoint
from .forms import FORMS, Form, render
from .options import Option, Plan, connector_options
from .repeats import ROW, SEQUENCE, Lane, State, new_changes, placed
from .secret import Secret, secret

__all__ = [
    "FORMS",
    "ROW",
    "SEQUENCE",
    "Endpoint",
    "Form",
    "Lane",
    "Option",
    "Plan",
    "Secret",
    "State",
    "connector_options",
    "endpoint",
    "new_changes",
    "placed",
    "render",
    "secret",
]
