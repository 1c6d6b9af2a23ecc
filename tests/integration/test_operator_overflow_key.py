"""The key that jobs are sealed with: made once for a namespace, and the same whatever happens."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from runestone_contract.names import CREDENTIALS_SECRET, OVERFLOW_KEY_ENTRY, OVERFLOW_KEY_SECRET
from runestone_testing.operators import Cluster, OperatorProcess, eventually, fill, settled

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kube


def key_of(cluster: Cluster, namespace: str) -> bytes:
    """What sidecars mount; and its source says the same."""
    (source,) = cluster.secret_values(namespace, OVERFLOW_KEY_SECRET).values()
    copy = cluster.secret_values(namespace, CREDENTIALS_SECRET)[OVERFLOW_KEY_ENTRY]
    assert copy == source
    return copy


def test_it_is_made_once_and_in_no_config_map(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    fill(cluster, namespace)
    settled(cluster, namespace)
    key = key_of(cluster, namespace)
    assert len(base64.b64decode(key, validate=True)) == 32
    assert key.decode() not in "".join(cluster.files(namespace).values())
    assert key.decode() not in operator.log.read_text()


@pytest.mark.parametrize("name", [OVERFLOW_KEY_SECRET, CREDENTIALS_SECRET])
def test_whichever_is_lost_comes_back_from_the_other(
    cluster: Cluster, namespace: str, operator: OperatorProcess, name: str
) -> None:
    fill(cluster, namespace)
    settled(cluster, namespace)
    key = key_of(cluster, namespace)
    lost = cluster.get("Secret", namespace, name)
    assert lost is not None

    cluster.delete("Secret", namespace, name)

    def is_back() -> bool:
        found = cluster.get("Secret", namespace, name)
        return found is not None and found["metadata"]["uid"] != lost["metadata"]["uid"]

    eventually("it is back", is_back)
    settled(cluster, namespace)
    assert key_of(cluster, namespace) == key


def test_two_operators_that_race_agree_on_one(cluster: Cluster, tmp_path: Path) -> None:
    spaces = [cluster.create_namespace(f"raced-{number}") for number in range(6)]
    with (
        OperatorProcess(cluster, tmp_path / "one") as one,
        OperatorProcess(cluster, tmp_path / "two") as two,
    ):
        one.wait_until_ready()
        two.wait_until_ready()
        for namespace in spaces:
            fill(cluster, namespace)
        keys = set()
        for namespace in spaces:
            settled(cluster, namespace, within_s=60)
            cluster.quiet_versions(namespace)
            keys.add(key_of(cluster, namespace))
    assert len(keys) == len(spaces)
