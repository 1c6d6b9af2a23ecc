"""Authorization by a third party's package, found as pip would have installed it."""

from pathlib import Path

import pytest

from runestone_sidecar.settings import SettingsError, read_settings
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import gateway

MODULE = """
def identify(headers):
    found = dict(headers).get(b"x-team")
    if found == b"nobody":
        raise PermissionError("a text for the log of the one who wrote this")
    return found.decode() if found else None
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    info = site / "teams-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "teams_auth.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: teams\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[runestone.auth]\nteams = teams_auth:identify\n")
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"x-team": "app", "authorization": ""}, 200, id="named"),
        pytest.param({"x-team": "shop/app", "authorization": ""}, 200, id="with-namespace"),
        pytest.param({"x-team": "ghost"}, 401, id="names-no-key-in-force"),
        pytest.param({"x-team": "nobody"}, 401, id="refused"),
        pytest.param({}, 200, id="silent-so-the-key-decides"),
        pytest.param({"authorization": "Bearer sk-wrong"}, 401, id="silent-and-the-key-is-wrong"),
    ],
)
@pytest.mark.usefixtures("installed")
async def test_a_plugin_says_who_asks(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    async with scripts.Provider(scripts.json_reply(completion("fine"))) as one:
        config = bundles.config(bundles.provider(f"{one.url}/v1"))
        async with gateway(tmp_path, config, auth_plugins=("teams",)) as found:
            answer = await found.client.post(
                "/chat/completions",
                json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]},
                headers=headers,
            )
    assert answer.status_code == status
    assert "a text for the log" not in answer.text


async def test_a_plugin_that_is_not_installed_stops_the_start(tmp_path: Path) -> None:
    config = bundles.config(bundles.provider("http://127.0.0.1:9/v1"))
    with pytest.raises(SettingsError, match=r"RUNESTONE_AUTH: .* 'ghost'"):
        async with gateway(tmp_path, config, auth_plugins=("ghost",)):
            pass


def test_plugins_are_named_in_the_environment() -> None:
    assert read_settings({"RUNESTONE_AUTH": "one, two"}).auth_plugins == ("one", "two")
    assert read_settings({}).auth_plugins == ()
