"""B11. Two ApiKeys of one key: the older one's rights are in force, and never those of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from runestone_operator.cli.compiled import StandIns
from runestone_operator.cli.load import load
from runestone_operator.cli.source.files import FileSource
from runestone_testing.gateway import gateway

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-rs-test-same-0123456789abcdefghijklmnop"
RESOURCES = f"""
apiVersion: runestone.dev/v1alpha1
kind: ProviderPool
metadata: {{name: pool}}
spec:
  providers:
  - name: one
    type: OpenAI
    baseURL: http://127.0.0.1:9/v1
    models: [{{name: modest}}, {{name: precious}}]
---
apiVersion: runestone.dev/v1alpha1
kind: ApiKey
metadata: {{name: intruder, creationTimestamp: "2026-02-01T00:00:00Z"}}
spec: {{tenant: intruder, roles: [Admin], secretRef: {{name: mine, key: api-key}}}}
---
apiVersion: runestone.dev/v1alpha1
kind: ApiKey
metadata: {{name: owner, creationTimestamp: "2026-01-01T00:00:00Z"}}
spec: {{tenant: owner, allowedModels: [modest], secretRef: {{name: mine, key: api-key}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: mine}}
stringData: {{api-key: {KEY}}}
"""


async def test_B11_the_second_grants_nothing(tmp_path: Path) -> None:
    path = tmp_path / "resources.yaml"
    path.write_text(RESOURCES)
    loaded = load(FileSource([str(path)]), None, StandIns())
    assert any("which is older" in str(problem) for problem in loaded.problems)
    config = loaded.build.compiled.config
    async with gateway(tmp_path, config, {}) as found:
        async with httpx.AsyncClient(trust_env=False) as client:
            headers = {"authorization": f"Bearer {KEY}"}
            base = f"http://127.0.0.1:{found.port}/v1"
            models = (await client.get(f"{base}/models", headers=headers)).json()["data"]
            usage = (await client.get(f"{base}/usage", headers=headers)).json()
    assert [model["id"] for model in models] == ["modest"]
    assert (usage["api_key"], usage["tenant"]) == ("owner", "owner")
