"""What the annotations of a key's Secret say, and when a key is to be replaced."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runestone_contract.config import KeyHash
from runestone_operator.api.load import parse
from runestone_operator.api.resource import ApiKey
from runestone_operator.collect.history import (
    MADE_AT,
    MADE_FOR,
    MOST_RETIRED,
    RETIRED,
    ROTATE,
    Cause,
    KeyHistory,
    RetiredKey,
    first_history,
    parse_history,
    retired_hashes,
    rotation_due,
    wish_of,
)
from runestone_operator.collect.views import PodView, SecretView
from runestone_testing.bodies import body, view
from runestone_testing.resources import key, pod, secret

NOW_S = 1_800_000_000
OLD, OLDER = "a" * 64, "b" * 64
HOUR_S = 3600


def api_key(wish: str | None = None, **rotation: str) -> ApiKey:
    document = body(key("shop", **({"rotation": rotation} if rotation else {})))  # type: ignore[arg-type]
    if wish is not None:
        document["metadata"]["annotations"] = {ROTATE: wish}
    parsed = parse(document)
    assert isinstance(parsed, ApiKey)
    return parsed


def read_back(history: KeyHistory) -> KeyHistory:
    return parse_history({"annotations": history.annotations()})


def test_it_is_read_as_it_was_written() -> None:
    asked = api_key("x" * 100_000, overlap="1h")
    first = first_history(asked, NOW_S - 60)
    second = first.replaced(OLD, asked, NOW_S)

    assert (read_back(first), read_back(second)) == (first, second)
    assert second.retired == (RetiredKey(OLD, NOW_S + HOUR_S),)
    assert second.made_at_s == NOW_S
    assert sum(map(len, second.annotations().values())) < 1000


@pytest.mark.parametrize(
    "retired",
    [
        "{",
        "null",
        '{"sha256": 1}',
        '[{"sha256": "zz", "until_s": 1}]',
        json.dumps([{"sha256": OLD, "until_s": -1}]),
        json.dumps([{"sha256": OLD, "until_s": 10**20}]),
    ],
)
def test_what_cannot_be_read_lets_nobody_in(retired: str) -> None:
    history = parse_history({"annotations": {RETIRED: retired, MADE_AT: "soon"}})
    assert history == KeyHistory(0, "")


def test_of_a_secret_that_says_nothing_its_own_age_counts() -> None:
    assert parse_history({"creationTimestamp": "2027-01-15T08:00:00Z"}) == KeyHistory(NOW_S, "")


def test_a_wish_is_fulfilled_once() -> None:
    history = first_history(api_key(), NOW_S)
    assert rotation_due(api_key(), history, NOW_S) is None
    assert rotation_due(api_key(""), history, NOW_S) is None

    assert rotation_due(api_key("now"), history, NOW_S) == (Cause.ANNOTATION, 0.0)
    history = history.replaced(OLD, api_key("now"), NOW_S)

    assert rotation_due(api_key("now"), history, NOW_S) is None
    assert rotation_due(api_key("again"), history, NOW_S) == (Cause.ANNOTATION, 0.0)


def test_what_is_asked_for_when_it_is_made_is_no_wish_for_another() -> None:
    asked = api_key("v1")
    assert rotation_due(asked, first_history(asked, NOW_S), NOW_S) is None
    assert wish_of(asked) not in {"", "v1"}


def test_an_interval_runs_from_when_the_key_was_made() -> None:
    every = api_key(interval="48h")
    history = first_history(every, NOW_S)
    assert rotation_due(every, history, NOW_S + 1) == (Cause.INTERVAL, 48.0 * HOUR_S - 1)
    assert rotation_due(every, history, NOW_S + 100 * HOUR_S) == (Cause.INTERVAL, 0.0)


def test_earlier_keys_work_until_their_time_and_no_longer() -> None:
    slow, quick = api_key(overlap="2h"), api_key(overlap="1h")
    history = first_history(slow, NOW_S).replaced(OLDER, slow, NOW_S)
    history = history.replaced(OLD, slow, NOW_S + HOUR_S)
    both = [
        KeyHash(sha256=OLD, not_after_s=NOW_S + 3 * HOUR_S),
        KeyHash(sha256=OLDER, not_after_s=NOW_S + 2 * HOUR_S),
    ]
    assert list(retired_hashes(history, NOW_S + HOUR_S)) == both
    assert list(retired_hashes(history, NOW_S + 2 * HOUR_S)) == both[:1]

    shortened = history.replaced("c" * 64, quick, NOW_S + HOUR_S)
    assert {each.until_s for each in shortened.retired} == {NOW_S + 2 * HOUR_S}


def test_without_an_overlap_a_rotation_ends_all_of_them() -> None:
    history = first_history(api_key(), NOW_S).replaced(OLDER, api_key(), NOW_S)
    assert history.replaced(OLD, api_key(overlap="0s"), NOW_S + 1).retired == ()


def test_what_was_no_key_needs_no_time() -> None:
    assert first_history(api_key(), NOW_S).replaced(None, api_key(), NOW_S).retired == ()


def test_there_are_never_many() -> None:
    history = first_history(api_key(), NOW_S)
    for number in range(2 * MOST_RETIRED):
        history = history.replaced(f"{number:064x}", api_key(), NOW_S + number)
    newest = [f"{number:064x}" for number in range(2 * MOST_RETIRED)][: -MOST_RETIRED - 1 : -1]
    assert [each.sha256 for each in history.retired] == newest


def owned(kind: str) -> SecretView:
    document = secret("shop", "client-api-key", api_key="sk-rs-" + "a" * 43)
    owner = {"kind": kind, "name": "client", "uid": "uid", "controller": True}
    annotations = {MADE_FOR: "wish"}
    document["metadata"] |= {"ownerReferences": [owner], "annotations": annotations}
    shown = view(document)
    assert isinstance(shown, SecretView)
    return shown


def test_only_a_secret_of_an_api_key_has_a_history() -> None:
    assert owned("ApiKey").history == KeyHistory(0, "wish")
    assert owned("Certificate").history is None


@pytest.mark.parametrize(
    ("container", "found"),
    [
        ({"env": [{"name": "A", "value": "b"}]}, set()),
        ({"env": [{"valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}, set()),
        ({"env": [{"valueFrom": {"secretKeyRef": {"name": "db"}}}]}, set()),
        ({"env": [{"valueFrom": {"secretKeyRef": {"name": "a-api-key"}}}]}, {"a-api-key"}),
        ({"envFrom": [{"secretRef": {"name": "b-api-key"}}, {"configMapRef": {}}]}, {"b-api-key"}),
    ],
)
def test_a_pod_tells_which_keys_it_got_at_its_start(
    container: dict[str, Any], found: set[str]
) -> None:
    for where in ("containers", "initContainers"):
        document = pod("shop", "app")
        document["spec"] = {where: [container]}
        document["metadata"]["creationTimestamp"] = "2027-01-15T08:00:00Z"
        shown = view(document)
        assert isinstance(shown, PodView)
        assert shown.env_secrets == found
        assert shown.created_s == NOW_S
