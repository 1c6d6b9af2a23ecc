"""H12: a sidecar that is older than the operator, at work: it passes over what it does not know,
and refuses clearly what it must not read, while what it had serves on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from runestone_contract.bundle import encode
from runestone_contract.canonical import canonical, digest
from runestone_contract.names import INDEX_FILE
from runestone_testing import bundles
from runestone_testing.sidecar import Sidecar, running_sidecar, wait_until

if TYPE_CHECKING:
    from pathlib import Path

NOVELTY = {"novelty": {"of": "a newer version"}}


def newer(version: str, *keys: str) -> dict[str, bytes]:
    """What an operator of that schema version writes, with fields and a kind of its own."""
    config = bundles.config(
        bundles.provider("http://127.0.0.1:9/v1"), keys=tuple(bundles.key(name) for name in keys)
    )
    lines = [json.loads(line) | NOVELTY for line in encode(config).shards[0].splitlines()]
    lines.append({"kind": "quota", "id": "shop/all", "limit": 1})
    shard = b"".join(canonical(line) + b"\n" for line in lines)
    body: dict[str, Any] = {
        "schema_version": version,
        "namespace": "shop",
        "shards": [{"name": "shard-0.jsonl", "sha256": digest(shard), "records": len(lines)}],
    } | NOVELTY
    index = canonical(body | {"digest": digest(canonical(body))})
    return {INDEX_FILE: index, "shard-0.jsonl": shard}


def models(sidecar: Sidecar) -> int:
    headers = {"Authorization": f"Bearer {bundles.CLIENT_KEY}"}
    return httpx.get(f"{sidecar.base_url}/models", headers=headers, trust_env=False).status_code


def test_H12_an_older_sidecar_takes_what_it_knows_and_refuses_another_major(
    tmp_path: Path,
) -> None:
    bundles.publish(tmp_path, bundles.config(bundles.provider("http://127.0.0.1:9/v1")))
    with running_sidecar(tmp_path, tmp_path) as sidecar:
        assert models(sidecar) == 200

        minor = newer("1.9", "app")
        bundles.swap(tmp_path / "config", minor)
        served = str(json.loads(minor[INDEX_FILE])["digest"])
        sidecar.wait_for_digest(served)
        assert models(sidecar) == 200

        bundles.swap(tmp_path / "config", newer("2.0"))
        told = wait_until("refused", lambda: sidecar.get("/health/config")[1]["refused"])
        assert told == "the index has schema version 2.0, this reader knows 1.0"
        assert sidecar.get("/health/config")[1]["digest"] == served
        assert (models(sidecar), sidecar.get("/health/ready")[0]) == (200, 200)
        assert sidecar.metric("runestone_config_stale") == 1

        last = newer("1.10", "app", "other")
        bundles.swap(tmp_path / "config", last)
        sidecar.wait_for_digest(json.loads(last[INDEX_FILE])["digest"])
        assert sidecar.get("/health/config")[1]["refused"] is None
