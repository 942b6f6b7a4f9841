"""Configurations for the real Debezium, made from a project: for whoever runs Kafka Connect or Debezium Server instead."""

from .endpoint import Endpoint, endpoint
from .forms import FORMS, Form, render
from .options import Option, Plan, connector_options
from .secret import Secret, secret

__all__ = [
    "FORMS",
    "Endpoint",
    "Form",
    "Option",
    "Plan",
    "Secret",
    "connector_options",
    "endpoint",
    "render",
    "secret",
]
