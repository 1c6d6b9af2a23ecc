"""The model that was authorized is the one that is used, however a provider reads the body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import question
from runestone_testing.pairs import response
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


@pytest.mark.parametrize(
    "name",
    ["models", "Models", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks"],
)
@pytest.mark.parametrize("path", BODIES)
async def test_A7_models_to_fall_back_to(tmp_path: Path, path: str, name: str) -> None:
    """OpenRouter, LiteLLM and Anthropic take one of these where the first fails."""
    async with standing(tmp_path, config=restricted) as stand:
        answer = await stand.client.post(path, json=BODIES[path] | {name: ["gpt-5-pro"]})
        assert (answer.status_code, name in answer.text) == (403, True)
        if path != "/messages":  # whose envelope names no field
            stand.refused(answer, 403, param=name)
        assert stand.provider.requests == []


IMAGES: dict[str, Any] = {"type": "image_generation", "model": "gpt-image-2"}
ADVISOR: dict[str, Any] = {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5"}
SAID: dict[str, Any] = {"role": "user", "content": "x"}
BRINGS_TOOLS: dict[str, Any] = {"type": "additional_tools", "tools": [IMAGES]}
BESIDE: dict[str, tuple[str, dict[str, Any], str]] = {
    "image-tool": ("/responses", {"tools": [{"type": "web_search"}, IMAGES]}, "tools[1].model"),
    "image-tool-as-it-comes": (
        "/responses",
        {"tools": [{"type": "image_generation"}]},
        "tools[0].model",
    ),
    "drawing": (
        "/responses",
        {"tools": [IMAGES | {"model": "gpt-4o", "svg": {"model": "gpt-5-pro"}}]},
        "tools[0].svg.model",
    ),
    "tools-in-the-input": (
        "/responses",
        {"input": [SAID, BRINGS_TOOLS]},
        "input[1].tools[0].model",
    ),
    "no-name": ("/responses", {"tools": [IMAGES | {"model": ["gpt-4o"]}]}, "tools[0].model"),
    "moderation": ("/responses", {"moderation": {"model": "omni"}}, "moderation.model"),
    "in-a-chat": ("/chat/completions", {"tools": [IMAGES]}, "tools[0].model"),
    "advisor": ("/messages", {"tools": [ADVISOR]}, "tools[0].model"),
}


@pytest.mark.parametrize(
    ("path", "fields", "param"), BESIDE.values(), ids=[f"A7-{name}" for name in BESIDE]
)
async def test_models_of_its_tools(
    tmp_path: Path, path: str, fields: dict[str, Any], param: str
) -> None:
    async with standing(tmp_path, config=restricted) as stand:
        body = BODIES[path] | fields
        answer = await stand.client.post(path, json=body)
        assert (answer.status_code, param in answer.text) == (403, True), answer.text
        if path != "/messages":
            stand.refused(answer, 403, param=param)
        assert stand.provider.requests == []


@pytest.mark.parametrize("free", [True, False], ids=["any-key", "a-model-of-its-own"])
async def test_models_of_tools_that_a_key_may_use(tmp_path: Path, free: bool) -> None:
    def config(url: str) -> Config:
        stated = bundles.model("gpt-4o-mini").model_copy(
            update={"capabilities": ("Chat", "Responses", "Tools")}
        )
        provider = bundles.provider(url).model_copy(update={"models": (stated,)})
        allowed = () if free else ("gpt-4o*", "gpt-image-2")
        return bundles.config(provider, keys=(bundles.key(allowed_models=allowed),))

    async with standing(tmp_path, config=config) as stand:
        stand.provider.answer = scripts.json_reply(response("fine", "completed"))
        tools = [IMAGES, {"type": "image_generation"}] if free else [IMAGES]
        body = BODIES["/responses"] | {"tools": tools}
        assert (await stand.client.post("/responses", json=body)).status_code == 200
        assert stand.provider.requests[0].json()["tools"] == tools


async def test_models_to_fall_back_to_are_a_free_keys_own_matter(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        assert (await stand.chat(models=["gpt-4o"])).status_code == 200
        assert stand.provider.requests[0].json()["models"] == ["gpt-4o"]


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/moderations"])
async def test_A8_tool_of_a_kind_that_is_none(tmp_path: Path, path: str) -> None:
    async with standing(tmp_path, config=restricted) as stand:
        answer = await stand.client.post(path, json=BODIES[path] | {"tools": [{"type": []}]})
        assert answer.status_code < 500
