"""Every refusal of the registry, with the number by which Confluent's clients know it."""

from __future__ import annotations

from ...errors import RegistryError


def _refusal(code: int, what: str, remedy: str | None = None) -> RegistryError:
    return RegistryError(what, code=str(code), remedy=remedy)


def status_of(error: RegistryError) -> int:
    """The HTTP status: the first three digits of the code."""
    return int(error.code[:3])


def subject_not_found(subject: object) -> RegistryError:
    return _refusal(40401, f"Subject '{subject}' not found.")


def version_not_found(version: object) -> RegistryError:
    return _refusal(40402, f"Version {version} not found.")


def schema_not_found(what: object = "") -> RegistryError:
    return _refusal(40403, f"Schema {what} not found" if what else "Schema not found")


def subject_soft_deleted(subject: object) -> RegistryError:
    return _refusal(40404, f"Subject '{subject}' was soft deleted. Set permanent=true to delete permanently")


def subject_not_soft_deleted(subject: object) -> RegistryError:
    return _refusal(40405, f"Subject '{subject}' was not deleted first before being permanently deleted")


def version_soft_deleted(subject: object, version: int) -> RegistryError:
    what = f"Subject '{subject}' Version {version} was soft deleted. Set permanent=true to delete permanently"
    return _refusal(40406, what)


def version_not_soft_deleted(subject: object, version: int) -> RegistryError:
    what = f"Subject '{subject}' Version {version} was not deleted first before being permanently deleted"
    return _refusal(40407, what)


def no_subject_config(subject: object) -> RegistryError:
    return _refusal(40408, f"Subject '{subject}' does not have subject-level compatibility configured")


def no_subject_mode(subject: object) -> RegistryError:
    return _refusal(40409, f"Subject '{subject}' does not have subject-level mode configured")


def incompatible(reasons: list[str]) -> RegistryError:
    what = "Schema being registered is incompatible with an earlier schema; details: [" + ", ".join(reasons) + "]"
    remedy = "Change the schema as the reasons say, or register it under a new subject."
    return _refusal(40901, what, remedy)


def invalid_schema(why: str) -> RegistryError:
    return _refusal(42201, f"Invalid schema: {why}")


def invalid_version(text: object) -> RegistryError:
    what = (
        f"The specified version '{text}' is not a valid version id. Allowed values are between [1, 2^31-1] and the "
        'string "latest"'
    )
    return _refusal(42202, what)


def invalid_level(text: object) -> RegistryError:
    what = (
        f"Invalid compatibility level {text!r}. Valid values are none, backward, forward, full, backward_transitive, "
        "forward_transitive, and full_transitive"
    )
    return _refusal(42203, what)


def invalid_mode(text: object) -> RegistryError:
    what = f"Invalid mode {text!r}. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT"
    return _refusal(42204, what)


def not_permitted(why: str) -> RegistryError:
    return _refusal(42205, why)


def referenced(what: str) -> RegistryError:
    return _refusal(42206, f"One or more references exist to the schema {what}")


def id_mismatch(given: int, held: int) -> RegistryError:
    return _refusal(42207, f"The id {given} was asked for, and this schema has the id {held} already")


def invalid_subject(name: str) -> RegistryError:
    return _refusal(42208, f"The specified subject '{name}' is not a valid subject name")


def invalid_rules(why: str) -> RegistryError:
    return _refusal(42210, f"Invalid ruleset: {why}")


def store_failed(why: str) -> RegistryError:
    return _refusal(50001, f"Error in the backend data store: {why}")
