"""What an edit leads to: applied, refused while the last good state stays, or of no matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_operator.cli.load import load
from runestone_operator.cli.run.reload import Changed, Refused, Reloader, Unchanged
from runestone_operator.cli.source.files import FileSource
from runestone_operator.cli.state import StateDir
from runestone_testing.shop import CLIENT_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_testing.shop import Shop


@pytest.fixture
def reloader(shop: Shop, tmp_path: Path) -> Reloader:
    return started(shop, tmp_path)


def started(shop: Shop, tmp_path: Path) -> Reloader:
    source, state = FileSource([str(shop)]), StateDir(tmp_path / "state")
    loaded = load(source, None, state)
    return Reloader(source, loaded.build.namespace, state, loaded)


def test_a_good_edit_is_a_change_by_name(shop: Shop, reloader: Reloader) -> None:
    shop.edit("policy.yaml", "smart: gpt-4o", "smart: gpt-4o-mini")
    shop.edit("secrets.yaml", "provider: sk-", "provider: sk-new-")
    shop.write("key-2.yaml", (shop.path / "key.yaml").read_text().replace("app}", "other}"))
    shop.edit("key-2.yaml", "  secretRef: {name: keys, key: client}\n", "")

    outcome = reloader.look()

    assert isinstance(outcome, Changed)
    assert sorted(outcome.changes) == [
        "ApiKey/other added",
        "RoutingPolicy/default changed",
        "Secret/keys changed",
    ]
    (policy,) = outcome.loaded.build.compiled.config.policies
    assert policy.aliases == {"smart": "gpt-4o-mini"}


def test_nothing_touched_is_nothing_looked_at(shop: Shop, reloader: Reloader) -> None:
    assert reloader.look() == Unchanged(is_mended=False)
    assert reloader.look() is None


def test_a_comment_changes_nothing(shop: Shop, reloader: Reloader) -> None:
    shop.edit("policy.yaml", "spec:", "# where requests go\nspec:")

    assert reloader.look() == Unchanged(is_mended=False)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(("policy.yaml", "default: true", "default: ["), "not valid YAML", id="YAML"),
        pytest.param(("policy.yaml", "default:", "defualt:"), "did you mean default?", id="field"),
        pytest.param(("policy.yaml", "- pool: pool", "- pool: pol"), '"pol" is not', id="pool"),
        pytest.param(("key.yaml", "ApiKey", "ApiKeys"), "kind: must be one of", id="kind"),
        pytest.param(
            ("key.yaml", "tenant: shop", "tenant: shop\n  enabled: false"), "nobody", id="key"
        ),
    ],
)
def test_a_broken_edit_is_told_once_and_changes_nothing(
    shop: Shop, reloader: Reloader, edit: tuple[str, str, str], message: str
) -> None:
    file, old, new = edit
    shop.edit(file, old, new)
    before = reloader.current

    outcome = reloader.look()

    assert isinstance(outcome, Refused)
    assert outcome.lines[0] == "Errors:"
    assert any(message in line for line in outcome.lines), outcome.lines
    assert CLIENT_KEY not in str(outcome)
    assert reloader.current is before
    assert reloader.look() is None

    shop.edit(file, new, old)
    assert reloader.look() == Unchanged(is_mended=True)


def test_a_folder_that_is_gone_is_a_broken_edit(shop: Shop, reloader: Reloader) -> None:
    away = shop.path.rename(shop.path.with_name("away"))
    outcome = reloader.look()
    assert isinstance(outcome, Refused)
    assert "there is no file or folder" in outcome.lines[0]

    away.rename(shop.path)
    assert reloader.look() == Unchanged(is_mended=True)


def test_an_error_that_was_there_from_the_start_stops_no_other_edit(
    shop: Shop, tmp_path: Path
) -> None:
    shop.edit("pool.yaml", "    models:", "    - secretRef: {name: lost, key: spare}\n    models:")
    reloader = started(shop, tmp_path)
    shop.edit("policy.yaml", "smart: gpt-4o", "smart: gpt-4o-mini")
    assert isinstance(reloader.look(), Changed)

    shop.edit("policy.yaml", "- pool: pool", "- pool: pol")
    refused = reloader.look()

    assert isinstance(refused, Refused)
    assert not any("lost" in line for line in refused.lines), "that one is known"


def test_new_warnings_are_told_once(shop: Shop, reloader: Reloader) -> None:
    shop.edit("policy.yaml", "default: true", "default: true\n  cache: {enabled: true}")
    shop.edit("policy.yaml", "smart: gpt-4o", "smart: gpt-4o-mini")
    outcome = reloader.look()
    assert isinstance(outcome, Changed)
    assert outcome.warnings[0] == "Warnings:"

    shop.edit("policy.yaml", "smart: gpt-4o-mini", "smart: gpt-4o")
    outcome = reloader.look()
    assert isinstance(outcome, Changed)
    assert outcome.warnings == ()
