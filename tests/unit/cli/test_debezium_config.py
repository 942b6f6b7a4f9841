"""`bitvelocity debezium-config`: a text on the screen or in a file, or the words why not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., subprocess.CompletedProcess[str]]
DSN = {"BITVELOCITY_DSN": "postgresql://ann:s3cret-of-the-test@db.example/shop"}


def test_to_the_screen_to_a_file_and_as_json(bitvelocity: Run, make_project: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_project()
    shown = bitvelocity("debezium-config", "--form", "connect", cwd=folder, env=DSN)
    assert json.loads(shown.stdout)["config"]["database.hostname"] == "db.example"
    file = tmp_path / "connector.json"
    wrote = bitvelocity("debezium-config", "--form", "connect", "-o", str(file), cwd=folder, env=DSN)
    assert wrote.stdout == f"Wrote {file}.\n"
    assert file.read_text() == shown.stdout
    told = json.loads(bitvelocity("debezium-config", "--form", "connect", "--json", cwd=folder, env=DSN).stdout)
    assert told == {"form": "connect", "file": None, "text": shown.stdout}
    assert "s3cret" not in shown.stdout + wrote.stdout


def test_words_change_it(bitvelocity: Run, make_project: Callable[..., Path]) -> None:
    words = ["--topic-prefix", "orders", "--unwrap", "--set", "decimal.handling.mode=double", "--password-from", "env:PW",
             "--set", "format.schemas.enable=true", "--set", "sink.kafka.producer.acks=all"]  # fmt: skip
    folder = make_project()
    text = bitvelocity("debezium-config", *words, cwd=folder, env=DSN).stdout
    for line in ("source.topic.prefix=orders", "transforms=unwrap", "source.decimal.handling.mode=double",
                 "source.database.password=${PW}", "format.schemas.enable=true", "sink.kafka.producer.acks=all"):  # fmt: skip
        assert f"\ndebezium.{line}\n" in text
    assert text.count("format.schemas.enable") == 1
    assert bitvelocity("debezium-config", "--set", "nothing", cwd=folder, env=DSN).returncode == 2


def test_what_cannot_be_written_is_told(fails: Callable[..., dict[str, Any]], make_project: Callable[..., Path]) -> None:
    folder = make_project()
    told = fails("debezium-config", cwd=folder)
    assert told["what"] == "The embedded PostgreSQL is not running, and its port is not set."
    told = fails("debezium-config", "-o", "/nowhere/x", cwd=folder, env=DSN)
    assert told["what"].startswith("/nowhere/x cannot be written")
    told = fails("debezium-config", "--set", "database.password=s3cret-of-the-test", cwd=folder, env=DSN)
    assert told["error"] == "SettingsError"
