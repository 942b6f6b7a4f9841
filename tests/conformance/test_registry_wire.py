"""What goes over the wire, where drop-in registries went wrong: each test is somebody's bug."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from .registry_server import Served, running

RECORD = '{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}'


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with running(tmp_path / "registry.db") as one:
        yield one


def register(served: Served, text: str, subject: str = "s", **more: object) -> int:
    answer = served.given("POST", f"subjects/{subject}/versions", {"schema": text, **more})
    assert isinstance(answer["id"], int)
    return int(answer["id"])


def test_an_error_has_a_code_and_a_message_only(served: Served) -> None:
    """Apicurio#1081: a further field crashed clients that refuse what they do not know."""
    assert served.refused("GET", "subjects/nowhere/versions") == (404, 40401)
    assert served.refused("GET", "nowhere") == (404, 404)
    assert served.refused("PATCH", "subjects") == (405, 405)
    assert served.refused("POST", "subjects/s/versions", "{") == (400, 400)
    assert served.refused("POST", "subjects/s/versions", {}) == (422, 42201)
    assert served.refused("POST", "subjects/s/versions", {"schema": '"int"', "schemaType": "THRIFT"}) == (422, 42201)
    register(served, RECORD)
    assert served.refused("GET", "subjects/s/versions/zero") == (422, 42202)
    assert served.refused("POST", "subjects/s/versions", {"schema": '"int"'}) == (409, 40901)
    assert served.refused("POST", "subjects/__GLOBAL/versions", {"schema": '"int"'}) == (422, 42208)


def test_a_version_has_no_field_that_clients_do_not_know(served: Served) -> None:
    """karapace#435: `compatibility` in a version broke Java clients."""
    register(served, RECORD)
    assert served.given("GET", "subjects/s/versions/1").keys() == {"subject", "version", "id", "guid", "schema"}
    assert served.given("GET", "schemas/ids/1").keys() == {"schema", "guid"}
    register(served, '{"type":"object"}', "j", schemaType="JSON")
    assert served.given("GET", "subjects/j/versions/1")["schemaType"] == "JSON"


def test_metadata_and_rules_are_kept(served: Served) -> None:
    """karapace#916: .NET 2.5 sends `ruleSet` and `metadata`, null or not. Others drop them in silence."""
    register(served, RECORD, metadata=None, ruleSet=None)
    rules = {"domainRules": [{"name": "r", "kind": "CONDITION", "mode": "WRITE", "type": "CEL", "expr": "true"}]}
    metadata = {"properties": {"owner": "shop"}}
    assert register(served, RECORD, metadata=metadata, ruleSet=rules) == 2
    held = served.given("GET", "subjects/s/versions/2")
    assert (held["metadata"], held["ruleSet"]) == (metadata, rules)
    assert "metadata" not in served.given("GET", "subjects/s/versions/1")


def test_rules_that_no_client_could_run(served: Served) -> None:
    """Confluent's number for them; others keep anything, and every client of the subject fails."""
    whole = {"name": "r", "kind": "CONDITION", "mode": "WRITE", "type": "CEL", "expr": "true"}
    for broken in (
        "rules", {"domainRules": "none"}, {"domainRules": [{**whole, "name": " "}]}, {"domainRules": [{**whole, "mode": "UPGRADE"}]},
        {"migrationRules": [whole]}, {"encodingRules": [{**whole, "kind": "MAYBE"}]},
    ):  # fmt: skip
        assert served.refused("POST", "subjects/s/versions", {"schema": RECORD, "ruleSet": broken}) == (422, 42210), broken
        assert served.refused("PUT", "config/s", {"overrideRuleSet": broken}) == (422, 42210), broken
    assert served.refused("GET", "subjects/s/versions") == (404, 40401)


def test_verbose_says_why(served: Served) -> None:
    """karapace#454: `verbose=true` had no messages."""
    register(served, RECORD)
    wider = RECORD.replace('"int"}', '"int"},{"name":"b","type":"string"}')
    body = {"schema": wider}
    assert served.given("POST", "compatibility/subjects/s/versions/latest", body) == {"is_compatible": False}
    told = served.given("POST", "compatibility/subjects/s/versions/latest?verbose=true", body)
    assert told["is_compatible"] is False
    assert json.loads(told["messages"][0])["errorType"] == "READER_FIELD_MISSING_DEFAULT_VALUE"
    assert json.loads(told["messages"][0])["additionalInfo"] == "/b"
    assert json.loads(told["messages"][1]) == {"oldSchemaVersion": 1}
    fine = served.given("POST", "compatibility/subjects/s/versions/latest?verbose=true", {"schema": RECORD})
    assert fine == {"is_compatible": True, "messages": []}


def test_a_primitive_type_is_a_plain_string(served: Served) -> None:
    """karapace#411, redpanda#4970: `{"type":"string"}` came back as it was sent, and made a second id."""
    assert register(served, '{"type": "string"}') == 1
    assert served.given("GET", "schemas/ids/1")["schema"] == '"string"'
    assert register(served, '"string"', "other") == 1


def test_schemas_come_back_minified(served: Served) -> None:
    """Apicurio#2636: the text came back as it was laid out."""
    register(served, json.dumps(json.loads(RECORD), indent=4))
    assert served.given("GET", "schemas/ids/1")["schema"] == RECORD
    assert served.raw("GET", "schemas/ids/1/schema") == (200, RECORD)
    assert served.raw("GET", "subjects/s/versions/latest/schema") == (200, RECORD)


def test_order_of_attributes_and_space_make_no_new_id(served: Served) -> None:
    """The most frequent complaint about auto-registration."""
    shuffled = '{"fields": [{"type": {"type": "int"}, "name": "a"}], "name": "R", "type": "record"}'
    assert register(served, RECORD) == register(served, shuffled) == 1
    noted = '{"type":"record","name":"R","fields":[{"name":"a","type":"int","z":1,"b":2}]}'
    turned = noted.replace('"z":1,"b":2', '"b":2,"z":1')
    first = served.given("POST", "subjects/n/versions?normalize=true", {"schema": noted})
    assert served.given("POST", "subjects/n/versions?normalize=true", {"schema": turned})["id"] == first["id"]
    assert served.given("POST", "subjects/n?normalize=true", {"schema": turned})["version"] == 1


def test_references_are_found_by_lookup(served: Served) -> None:
    """Apicurio#5133: a schema with references was registered, and not found again."""
    register(served, '{"type":"enum","name":"Color","symbols":["RED"]}', "color")
    user = '{"type":"record","name":"Car","fields":[{"name":"color","type":"Color"}]}'
    references = [{"name": "Color", "subject": "color", "version": 1}]
    number = register(served, user, "car", references=references)
    found = served.given("POST", "subjects/car", {"schema": user, "references": references})
    assert (found["id"], found["references"]) == (number, references)
    assert served.refused("POST", "subjects/car/versions", {"schema": user}) == (422, 42201)
    absent = [{"name": "Color", "subject": "nowhere", "version": 1}]
    assert served.refused("POST", "subjects/car/versions", {"schema": user, "references": absent}) == (422, 42201)


def test_everything_is_compatible_with_a_missing_subject(served: Served) -> None:
    """karapace#985: it was an error."""
    body = {"schema": RECORD}
    assert served.given("POST", "compatibility/subjects/new/versions/latest", body) == {"is_compatible": True}
    assert served.given("POST", "compatibility/subjects/new/versions", body) == {"is_compatible": True}
    assert served.refused("POST", "compatibility/subjects/new/versions/3", body) == (404, 40401)


def test_the_level_has_one_name_in_questions_and_another_in_answers(served: Served) -> None:
    assert served.given("PUT", "config/s", {"compatibility": "full"}) == {"compatibility": "FULL"}
    assert served.given("GET", "config/s") == {"compatibilityLevel": "FULL"}
    assert served.given("GET", "config/t?defaultToGlobal=true") == {"compatibilityLevel": "BACKWARD_TRANSITIVE"}


def test_subjects_may_have_any_letters(served: Served) -> None:
    """An escaped slash is part of the name, not of the path."""
    for name, escaped in (("a/b", "a%2Fb"), ("ü ö", "%C3%BC%20%C3%B6"), ("q?x=1", "q%3Fx%3D1")):
        register(served, RECORD, escaped)
        assert served.given("GET", f"subjects/{escaped}/versions/1")["subject"] == name


def test_a_deleted_schema_does_not_come_back_and_its_id_is_not_given_again(served: Served) -> None:
    """schema-registry#4420 and #893: hard-deleted schemas rose again, ids were used twice."""
    register(served, '"int"')
    register(served, '"long"')
    served.given("DELETE", "subjects/s")
    assert served.given("GET", "schemas/ids/2")["schema"] == '"long"'  # old records must stay readable
    served.given("DELETE", "subjects/s?permanent=true")
    assert served.refused("GET", "schemas/ids/2") == (404, 40403)
    assert served.given("GET", "subjects?deleted=true") == []
    assert register(served, '"boolean"') == 3
    assert register(served, '"long"', "again") == 2  # the same schema: records that had its id mean it still


def test_a_soft_deleted_reference_still_serves(served: Served) -> None:
    """schema-registry#2430: soft deletion made what refers to it unreadable."""
    register(served, '{"type":"fixed","name":"F","size":4}', "f")
    references = [{"name": "F", "subject": "f", "version": 1}]
    register(served, '{"type":"array","items":"F"}', "users", references=references)
    assert served.refused("DELETE", "subjects/f") == (422, 42206)
    served.given("DELETE", "subjects/users")
    assert served.given("DELETE", "subjects/f") == [1]
    body = {"schema": '{"type":"array","items":"F"}', "references": references}
    assert served.given("POST", "subjects/users?deleted=true", body)["version"] == 1


def test_import_keeps_ids_and_versions(served: Served) -> None:
    body = {"schema": '"int"', "id": 70, "version": 5}
    assert served.refused("POST", "subjects/s/versions", body) == (422, 42205)
    served.given("PUT", "mode/s", {"mode": "IMPORT"})
    assert served.refused("POST", "subjects/s/versions", {"schema": '"int"'}) == (422, 42201)
    done = served.given("POST", "subjects/s/versions", body)
    assert (done["id"], done["version"]) == (70, 5)
    assert served.given("POST", "subjects/s/versions", body) == done
    assert served.refused("POST", "subjects/s/versions", {"schema": '"long"', "id": 70, "version": 6}) == (422, 42205)
    assert served.refused("POST", "subjects/s/versions", {"schema": '"int"', "id": 71, "version": 6}) == (422, 42207)
    served.given("DELETE", "mode/s")
    assert register(served, '"long"') == 71


def test_contexts_number_by_themselves(served: Served) -> None:
    assert register(served, '"int"') == 1
    assert register(served, '"long"', ":.test:s") == 1
    assert served.given("GET", "schemas/ids/1")["schema"] == '"int"'
    assert served.given("GET", "schemas/ids/1?subject=:.test:s")["schema"] == '"long"'
    assert served.given("GET", "contexts/.test/subjects") == [":.test:s"]
    assert served.given("GET", "contexts/.test/schemas/ids/1")["schema"] == '"long"'
    assert served.given("GET", "contexts/.test/subjects/s/versions/1")["subject"] == ":.test:s"


def test_guids_are_the_same_in_every_registry(served: Served, tmp_path: Path) -> None:
    """Apicurio#4255 asks for ids that survive a restore."""
    register(served, '"int"', "first")
    register(served, RECORD)
    guid = served.given("GET", "subjects/s/versions/1")["guid"]
    with running(tmp_path / "another.db") as other:
        register(other, RECORD, "elsewhere")
        assert other.given("GET", "schemas/ids/1")["guid"] == guid
        assert other.given("GET", f"schemas/guids/{guid}")["schema"] == RECORD
    assert served.given("GET", f"schemas/guids/{guid}/ids") == [{"context": ".", "id": 2}]
    assert served.refused("GET", f"schemas/guids/{UUID(int=0)}") == (404, 40403)


def test_groups_of_compatibility(served: Served) -> None:
    """A property of the metadata splits a subject: a new major version is held against its own kind only."""
    served.given("PUT", "config/s", {"compatibility": "FULL_TRANSITIVE", "compatibilityGroup": "major"})
    register(served, '"int"', metadata={"properties": {"major": "1"}})
    register(served, '"string"', metadata={"properties": {"major": "2"}})
    broken = {"schema": '"boolean"', "metadata": {"properties": {"major": "1"}}}
    assert served.refused("POST", "subjects/s/versions", broken) == (409, 40901)


@pytest.mark.parametrize(
    ("level", "allowed"),
    [
        ("NONE", {"add", "drop", "again"}),
        ("BACKWARD", {"drop", "again"}),
        ("BACKWARD_TRANSITIVE", {"drop"}),
        ("FORWARD", {"add", "again"}),
        ("FORWARD_TRANSITIVE", {"add"}),
        ("FULL", {"again"}),
        ("FULL_TRANSITIVE", set()),
    ],
)
def test_the_seven_levels(served: Served, level: str, allowed: set[str]) -> None:
    """`add` and `drop` a field without default; `again` changes the type back that the first version had otherwise."""
    both = RECORD.replace('"int"}', '"int"},{"name":"b","type":"int"}')
    steps = {
        "add": (RECORD, both),
        "drop": (both, RECORD),
        "again": (both.replace('"b","type":"int"', '"b","type":"string"'), RECORD, both.replace("}]", ',"default":0}]')),
    }
    for name, texts in steps.items():
        served.given("PUT", f"config/{name}", {"compatibility": "NONE"})
        for text in texts[:-1]:
            register(served, text, name)
        served.given("PUT", f"config/{name}", {"compatibility": level})
        status, _ = served.ask("POST", f"subjects/{name}/versions", {"schema": texts[-1]})
        assert (status == 200) == (name in allowed), (level, name)


def test_tokens(tmp_path: Path) -> None:
    with running(tmp_path / "t.db", tokens={"writer-secret": True, "reader-secret": False}) as served:
        assert served.refused("GET", "subjects") == (401, 401)
        assert Served(served.url, {"Authorization": "Bearer wrong"}).refused("GET", "subjects") == (401, 401)
        writer = Served(served.url, {"Authorization": "Bearer writer-secret"})
        reader = Served(served.url, {"Authorization": "Bearer reader-secret"})
        basic = base64.b64encode(b"anybody:writer-secret").decode()
        register(Served(served.url, {"Authorization": f"Basic {basic}"}), RECORD)
        assert reader.given("GET", "subjects") == ["s"]
        assert reader.given("POST", "subjects/s", {"schema": RECORD})["id"] == 1
        assert reader.given("POST", "compatibility/subjects/s/versions", {"schema": RECORD})["is_compatible"]
        for method, path, body in (
            ("POST", "subjects/s/versions", {"schema": RECORD}), ("DELETE", "subjects/s", None),
            ("PUT", "config", {"compatibility": "NONE"}), ("PUT", "mode/s", {"mode": "READONLY"}),
        ):  # fmt: skip
            assert reader.refused(method, path, body) == (403, 40301)
        assert writer.given("DELETE", "subjects/s") == [1]


def test_a_read_only_registry(tmp_path: Path) -> None:
    with running(tmp_path / "r.db") as served:
        register(served, RECORD)
    with running(tmp_path / "r.db", read_only=True) as served:
        assert served.given("POST", "subjects/s", {"schema": RECORD})["version"] == 1
        assert served.refused("POST", "subjects/s/versions", {"schema": RECORD}) == (422, 42205)
        assert served.refused("PUT", "config", {"compatibility": "NONE"}) == (422, 42205)
        assert served.refused("DELETE", "subjects/s") == (422, 42205)


def test_what_is_too_deep_is_refused_and_the_server_lives(served: Served) -> None:
    """A schema of a thousand levels is an error of its sender, in the usual form."""
    avro = '{"type":"array","items":' * 3000 + '"int"' + "}" * 3000
    assert served.refused("POST", "subjects/s/versions", {"schema": avro}) == (422, 42201)
    proto = "message M {" * 3000 + "}" * 3000
    assert served.refused("POST", "subjects/s/versions", {"schema": proto, "schemaType": "PROTOBUF"}) == (422, 42201)
    deep = '{"items":' * 3000 + "true" + "}" * 3000
    assert served.refused("POST", "subjects/s/versions", {"schema": deep, "schemaType": "JSON"}) == (422, 42201)
    assert served.refused("POST", "subjects/s/versions", '{"schema":' + "[" * 100_000) == (400, 400)
    register(served, RECORD)


def test_choices_within_choices_end(served: Served) -> None:
    """Each level multiplies what must be compared: it is refused as not to be judged, and does not take for ever."""
    one = other = '{"type":"string"}'
    for level in range(12):
        branches = ",".join(f'{{"type":"object","properties":{{"p{level}":{one},"q{n}":{one}}}}}' for n in range(2))
        one = f'{{"anyOf":[{branches}]}}'
        branches = ",".join(f'{{"type":"object","properties":{{"p{level}":{other},"r{n}":{other}}}}}' for n in range(2))
        other = f'{{"anyOf":[{branches}]}}'
        if len(one) > 60_000:
            break
    register(served, one, "c", schemaType="JSON")
    assert served.refused("POST", "subjects/c/versions", {"schema": other, "schemaType": "JSON"}) == (409, 40901)
