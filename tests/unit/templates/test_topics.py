"""What `init --with` writes: settings that load, and routes that can be gone."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from bitvelocity.contracts import load_specs
from bitvelocity.flow.routes import routes_of
from bitvelocity.settings import TRANSPORTS, load_settings
from bitvelocity.templates import copy_project

CHOICES = [chosen for count in range(len(TRANSPORTS) + 1) for chosen in combinations(TRANSPORTS, count)]


@pytest.mark.parametrize("servers", CHOICES, ids="+".join)
def test_each_server_has_a_route_and_runs_with_up(servers: tuple[str, ...], tmp_path: Path) -> None:
    copy_project("commerce", tmp_path / "shop", servers)
    settings = load_settings(tmp_path / "shop")
    assert settings.streams.run == servers
    readme = (tmp_path / "shop" / "README.md").read_text()
    assert all((f"<{name}>" in readme) == (name in servers) for name in TRANSPORTS)
    routes = routes_of(settings, load_specs(settings.entities_file))
    assert [route.bus.partition("-")[0] for route in routes] == list(servers)


def test_the_page_shows_what_can_be_gone(tmp_path: Path) -> None:
    copy_project("commerce", tmp_path / "shop")
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "routes.md").read_text()
    shown = page.partition("```toml\n")[2].partition("```")[0]
    with (tmp_path / "shop" / "bitvelocity.toml").open("a") as file:
        file.write(shown)
    settings = load_settings(tmp_path / "shop")
    routes = routes_of(settings, load_specs(settings.entities_file))
    assert [route.bus for route in routes] == ["kafka", "nats", "rabbitmq-queues"]
