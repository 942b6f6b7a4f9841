"""`bitvelocity.toml`: found upwards, typed, with secrets from the environment, and every mistake named."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitvelocity.errors import SettingsError
from bitvelocity.settings import Settings, load_settings


def write(folder: Path, text: str) -> Path:
    (folder / "bitvelocity.toml").write_text(text)
    return folder


def load(folder: Path, text: str, **environment: str) -> Settings:
    return load_settings(write(folder, text), environment)


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    assert settings.root == tmp_path
    assert settings.database.dsn == ""
    assert settings.lake_folder == tmp_path / ".bitvelocity" / "lake"
    assert settings.entities_file == tmp_path / "entities.py"
    assert settings.models_folder == tmp_path / "models"
    assert settings.lake.sync is True


def test_found_upwards(tmp_path: Path) -> None:
    (tmp_path / "shop" / "deep" / "deeper").mkdir(parents=True)
    write(tmp_path, "")
    write(tmp_path / "shop", '[project]\nname = "nearest"')
    found = load_settings(tmp_path / "shop" / "deep" / "deeper", {})
    assert found.root == tmp_path / "shop"
    assert found.project.name == "nearest"


def test_an_absolute_lake_stays_where_it_is(tmp_path: Path) -> None:
    assert load(tmp_path, '[lake]\npath = "/data/lake"').lake_folder == Path("/data/lake")


def test_values_from_the_environment(tmp_path: Path) -> None:
    text = '[database]\ndsn = "host=db password=${THE_PASSWORD}"\n[capture]\nslot = "${A}_${B}"'
    settings = load(tmp_path, text, THE_PASSWORD="open", A="x", B="y")
    assert settings.database.dsn == "host=db password=open"
    assert settings.capture.slot == "x_y"


def test_the_transport_of_topics_and_the_settings_of_its_client(tmp_path: Path) -> None:
    """Names with dots are put together again; what is secret comes from the environment, and is not printed."""
    text = """
[streams]
bus = "kafka"
[streams.kafka]
bootstrap = "kafka:9093"
[streams.kafka.client]
security.protocol = "SASL_SSL"
"sasl.password" = "${THE_PASSWORD}"
enable.ssl.certificate.verification = false
socket.timeout.ms = 5000
"""
    streams = load(tmp_path, text, THE_PASSWORD="of-the-test").streams
    assert (streams.bus, streams.kafka.bootstrap, streams.nats.url) == ("kafka", "kafka:9093", "")
    assert streams.kafka.client == {
        "security.protocol": "SASL_SSL", "sasl.password": "of-the-test", "socket.timeout.ms": "5000",
        "enable.ssl.certificate.verification": "false",
    }  # fmt: skip
    assert "of-the-test" not in repr(streams)


def test_the_dsn_of_the_environment_wins(tmp_path: Path) -> None:
    settings = load(tmp_path, '[database]\ndsn = "host=file"\nport = 5\n[lake]\nsync = false', BITVELOCITY_DSN="host=env")
    assert settings.database.dsn == "host=env"
    assert settings.database.port == 5
    assert settings.lake.sync is False


def test_the_dsn_of_the_environment_spares_the_variable(tmp_path: Path) -> None:
    """A file that names a variable is no error where another word wins in any case."""
    settings = load(tmp_path, '[database]\ndsn = "${BITVELOCITY_DSN}"', BITVELOCITY_DSN="host=env")
    assert settings.database.dsn == "host=env"


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("[database]\nprot = 1", r"\[database\] prot is not a setting", "Did you mean 'port'"),
        ("[databse]", r"\[databse\] is not a setting", "Did you mean 'database'"),
        ("name = 'x'", r"\[name\] is not a setting", "Known: project, database, capture, lake"),
        ("project = 'x'", r"\[project\] must be a table", r"\[project\]"),
        ("[database]\nport = '5432'", r"\[database\] port: expected int, got str", "int"),
        ("[database]\nport = true", r"\[database\] port: expected int, got bool", "int"),
        ("[capture]\nsnapshot = 'always'", "snapshot is 'always'", "initial, never"),
        ("[database]\ndsn = '${NOT_THERE}'", "NOT_THERE, which is not set", "export NOT_THERE"),
        ("[database", "bitvelocity.toml", "TOML"),
        ("[streams]\nbus = 'kafak'", "bus is 'kafak'", "embedded, kafka, nats, rabbitmq"),
        ("[streams.kafak]", r"\[streams\] kafak is not a setting", "Did you mean 'kafka'"),
        ("[streams.kafka]\nbotstrap = 'x'", r"\[streams.kafka\] botstrap is not", "Did you mean 'bootstrap'"),
        ("[streams.kafka]\nclient = 'x'", r"\[streams.kafka.client\] must be a table", "streams.kafka.client"),
        ("[streams.kafka.client]\na.b = [1]", r"\[streams.kafka.client\] b must be a text", "as a text"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, what: str, remedy: str) -> None:
    with pytest.raises(SettingsError, match=what) as caught:
        load(tmp_path, text)
    assert remedy.replace("\\", "") in str(caught.value.remedy)


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "bitvelocity.toml").write_bytes(b"\xff\xfe[\x00")
    with pytest.raises(SettingsError, match="toml"):
        load_settings(tmp_path, {})


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"There is no bitvelocity\.toml") as caught:
        load_settings(tmp_path, {})
    assert "bitvelocity init" in str(caught.value.remedy)


@pytest.mark.parametrize("wrong", ["cycle_ms = -1", "slot = 'Big Slot'", "slot = ''", "publication = ''"])
def test_values_that_could_never_work(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(SettingsError, match=wrong.partition(" ")[0]):
        load(tmp_path, f"[capture]\n{wrong}")


@pytest.mark.parametrize("text", ["[lake]\npath = ''", "[project]\nentities = ''", "[project]\nmodels = ''"])
def test_places_without_a_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="is ''"):
        load(tmp_path, text)


@pytest.mark.parametrize("port", [-1, 70000])
def test_ports_that_do_not_exist(tmp_path: Path, port: int) -> None:
    with pytest.raises(SettingsError, match="port"):
        load(tmp_path, f"[database]\nport = {port}")


@pytest.mark.parametrize("names", ["Feed", "", "two words", "twice\"\n[[routes]]\nname = \"twice"])
def test_names_of_routes_that_could_not_be_kept_apart(tmp_path: Path, names: str) -> None:
    with pytest.raises(SettingsError, match=r"\[\[routes\]\].* names? is"):
        load(tmp_path, f'[[routes]]\nname = "fine"\n[[routes]]\nname = "{names}"\n[[routes]]\nname = "last"')
