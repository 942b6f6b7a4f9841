"""JSON Schema: read, printed in one form, and held against each other by what they accept."""

from .diff import json_objections
from .parse import JsonSchema, read_json_schema

__all__ = ["JsonSchema", "json_objections", "read_json_schema"]
