"""The model that was authorized is the one that is used, however a provider reads the body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from runestone_testing import bundles
from runestone_testing.gateway import question
from runestone_testing.stand import standing

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_contract.config import Config

BODIES: dict[str, dict[str, Any]] = {
    "/chat/completions": question(),
    "/completions": {"model": "gpt-4o-mini", "prompt": "x"},
    "/embeddings": {"model": "gpt-4o-mini", "input": "x"},
    "/responses": {"model": "gpt-4o-mini", "input": "x"},
    "/messages": question(max_tokens=9),
    "/moderations": {"model": "gpt-4o-mini", "input": "x"},
}


def restricted(url: str) -> Config:
    return bundles.config(bundles.provider(url), keys=(bundles.key(allowed_models=("gpt-4o*",)),))


def said(answer: Any) -> str:
    return str(answer.json()["error"]["type"])


@pytest.mark.parametrize("name", ["Model", "MODEL", "mOdel"])
@pytest.mark.parametrize("path", BODIES)
async def test_A7_model_in_another_case(tmp_path: Path, path: str, name: str) -> None:
    """Go's decoder takes `Model` for `model`."""
    async with standing(tmp_path, config=restricted) as stand:
        answer = await stand.client.post(path, json=BODIES[path] | {name: "gpt-5-pro"})
        assert (answer.status_code, said(answer)) == (400, "invalid_request_error")
        assert stand.provider.requests == []


@pytest.mark.parametrize("name", ["models", "fallbacks"])
@pytest.mark.parametrize(
    "path", [path for path in BODIES if path not in ("/responses", "/messages")]
)
async def test_A7_models_to_fall_back_to(tmp_path: Path, path: str, name: str) -> None:
    """OpenRouter and LiteLLM take one of these where the first fails."""
    async with standing(tmp_path, config=restricted) as stand:
        body = BODIES[path] | {name: ["gpt-5-pro"]}
        stand.refused(await stand.client.post(path, json=body), 403, param=name)
        assert stand.provider.requests == []


async def test_models_to_fall_back_to_are_a_free_keys_own_matter(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        assert (await stand.chat(models=["gpt-4o"])).status_code == 200
        assert stand.provider.requests[0].json()["models"] == ["gpt-4o"]
