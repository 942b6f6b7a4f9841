"""A project is copied whole, and never over something."""

from __future__ import annotations

import filecmp
import tomllib
from pathlib import Path

import pytest

from bitvelocity.contracts import load_specs
from bitvelocity.errors import SettingsError
from bitvelocity.lakehouse.gold import load_models
from bitvelocity.settings import load_settings
from bitvelocity.templates import copy_project, project_folder

MODELS = {"dim_customer", "dim_date", "dim_product", "daily_sales", "order_facts", "order_item_facts"}
ENTITIES = {"customers", "products", "orders", "order_items", "payments", "device_telemetry"}


def test_the_project_is_complete(tmp_path: Path) -> None:
    files = copy_project("commerce", tmp_path / "shop")
    assert all(file.is_file() for file in files)
    names = {str(file.relative_to(tmp_path / "shop")) for file in files}
    assert names == {
        ".gitignore", "README.md", "bitvelocity.toml", "entities.py", *(f"models/{name}.sql" for name in MODELS),
    }  # fmt: skip
    assert filecmp.cmpfiles(project_folder("commerce"), tmp_path / "shop", names, shallow=False)[0] == list(names)


def test_the_copy_is_a_project_that_loads(tmp_path: Path) -> None:
    copy_project("commerce", tmp_path)
    settings = load_settings(tmp_path, {})
    specs = load_specs(settings.entities_file)
    assert {spec.name for spec in specs} == ENTITIES
    assert {model.name for model in load_models(settings.models_folder, specs)} == MODELS


def test_orders_are_as_the_seed_has_them(tmp_path: Path) -> None:
    copy_project("commerce", tmp_path)
    orders = {spec.name: spec for spec in load_specs(tmp_path / "entities.py")}["orders"]
    assert orders.key == ("order_id", "created_at")
    assert orders.partition is not None
    assert orders.partition.step == "month"
    assert {index.name for index in orders.indexes} == {"idx_orders_customer_date", "idx_orders_active_status"}
    assert orders.by_name["status"].choices[0] == "PENDING"
    assert str(orders.by_name["total_amount"].type) == "decimal(10,2)"


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert copy_project("commerce", tmp_path / "empty")


def test_a_taken_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SettingsError, match="not an empty folder") as caught:
        copy_project("commerce", tmp_path)
    assert caught.value.remedy
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(SettingsError):
        copy_project("commerce", tmp_path / "mine.txt")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written") as caught:
        copy_project("commerce", tmp_path / "file" / "shop")
    assert caught.value.remedy


def test_an_unknown_project_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'bank'") as caught:
        copy_project("bank", tmp_path / "bank")
    assert "commerce" in str(caught.value.remedy)


def test_settings_say_nothing_unknown(tmp_path: Path) -> None:
    copy_project("commerce", tmp_path)
    raw = tomllib.loads((tmp_path / "bitvelocity.toml").read_text())
    assert raw["project"]["name"] == "commerce"
    assert raw["database"]["dsn"] == ""
