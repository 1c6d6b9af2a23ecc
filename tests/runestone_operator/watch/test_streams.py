from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, cast

import kopf

from runestone_operator.handlers import Ears, build_registry
from runestone_operator.kinds import WATCHED
from runestone_operator.watch.streams import kopf_settings

if TYPE_CHECKING:
    from collections.abc import Iterable


def test_kopf_writes_nothing() -> None:
    """It has no handler for which it would add an annotation or a finalizer, and posts nothing."""
    registry = build_registry(cast("Ears", None), in_cluster=True)

    assert kopf_settings().posting.enabled is False
    assert registry._changing.get_all_handlers() == []
    assert registry._spawning.get_all_handlers() == []
    assert registry._webhooks.get_all_handlers() == []


def test_every_kind_is_followed_and_none_is_indexed() -> None:
    """Kopf fills indices in a time that grows with the square of the objects."""
    registry = build_registry(cast("Ears", None), in_cluster=True)
    assert registry._indexing.get_all_handlers() == []
    followed = {str(handler.id) for handler in registry._watching.get_all_handlers()}
    assert followed == {kind.plural for kind in WATCHED}


def test_kopf_never_gives_up_and_never_waits_long() -> None:
    backoffs = cast("Iterable[float]", kopf_settings().networking.error_backoffs)
    some = list(itertools.islice(backoffs, 1000))
    assert len(some) == 1000
    assert max(some) <= 5
    assert list(itertools.islice(backoffs, 3)) == some[:3]  # each request begins anew


def test_a_stream_that_is_dead_is_noticed() -> None:
    watching = kopf_settings().watching
    assert watching.inactivity_timeout <= 70  # bookmarks come each minute
    assert None not in (watching.server_timeout, watching.client_timeout, watching.connect_timeout)


def test_the_api_server_selects() -> None:
    watching = kopf_settings().watching
    assert isinstance(
        watching.label_selectors, type(kopf.OperatorSettings().watching.label_selectors)
    )
    assert sorted(watching.label_selectors.values()) == [
        "app.kubernetes.io/managed-by=runestone-operator",
        "runestone.dev/inject,runestone.dev/inject!=false",
    ]
    (secrets,) = watching.field_selectors.values()
    assert "type!=helm.sh/release.v1" in secrets
    assert "type!=kubernetes.io/service-account-token" in secrets
