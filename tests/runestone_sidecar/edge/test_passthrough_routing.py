"""Which provider is asked, how often, and for whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anthropic
import pytest
import pytest_asyncio

from runestone_contract.config import Match, Policy, Pool, Rule, Target
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.front import (
    BOUNDARY,
    FORM,
    IMAGES,
    Front,
    form,
    front,
    refused,
)
from runestone_testing.gateway import gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from runestone_testing.peer import Peer

MIB = 2**20


@pytest_asyncio.fixture
async def both(tmp_path: Path) -> AsyncIterator[Front]:
    async with front(tmp_path) as found:
        yield found


# --- where it goes


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        pytest.param("two", None, id="by-name"),
        pytest.param("shop/pool/two", None, id="by-id"),
        pytest.param("three", "provider_not_found", id="unknown"),
    ],
)
async def test_provider_may_be_chosen(both: Front, wanted: str, code: str | None) -> None:
    answer = await both.client.get("/files", headers={"x-runestone-provider": wanted})
    if code is not None:
        refused(answer, 404, code)
        return
    assert answer.headers["x-runestone-provider"] == "shop/pool/two"
    assert len(both.second.requests) == 1


async def test_what_speaks_anthropics_api_is_for_no_provider_of_openais(both: Front) -> None:
    """Files have the same URL in both: one would be handed to a vendor that nobody asked for."""
    async with anthropic.AsyncAnthropic(
        base_url=f"http://127.0.0.1:{both.gateway.port}",
        api_key=bundles.CLIENT_KEY,
        max_retries=0,
    ) as client:
        secret = ("secret.pdf", b"%PDF-", "application/pdf")
        for asked in (client.beta.files.upload(file=secret), client.beta.files.delete("file_1")):
            with pytest.raises(anthropic.NotFoundError, match="anthropic-version") as caught:
                await asked
            assert caught.value.type == "not_found_error"
    named = {"anthropic-version": "2023-06-01"}
    for path in ("/moderations", "/images/generations"):
        answer = await both.client.post(path, json={"model": "paint"}, headers=named)
        assert answer.status_code == 404
    assert both.requests == both.second.requests == []


async def test_there_is_no_failing_over_to_another_account(both: Front) -> None:
    both.first.answer = scripts.json_reply({}, 500)
    refused(await both.client.get("/files"), 502, "upstream_error")
    assert both.second.requests == []


@pytest.mark.parametrize("model", [{}, {"model": "of-no-pool"}], ids=["none", "unknown"])
async def test_what_is_kept_nowhere_may_be_answered_by_another(
    both: Front, model: dict[str, str]
) -> None:
    both.first.answer = scripts.json_reply({}, 500)
    both.second.answer = scripts.json_reply({"results": []})
    answer = await both.client.post("/moderations", json={"input": "x", **model})
    assert answer.json() == {"results": []}
    assert answer.headers["x-runestone-provider"] == "shop/pool/two"


async def test_anthropics_have_no_such_apis(tmp_path: Path) -> None:
    async with scripts.Provider(scripts.json_reply({})) as one:
        claude = bundles.provider(one.url, name="claude", dialect="Anthropic")
        async with gateway(tmp_path, bundles.config(claude)) as served:
            refused(await served.client.get("/files"), 404, "provider_not_found")
            body = {"model": "gpt-4o-mini", "input": "x"}
            answer = await served.client.post("/moderations", json=body)
            refused(answer, 400, "model_not_supported")
        assert one.requests == []


async def test_rules_for_others_lead_nowhere(tmp_path: Path) -> None:
    async with (
        scripts.Provider(scripts.json_reply({})) as one,
        scripts.Provider(scripts.json_reply({})) as two,
    ):
        pools = tuple(
            Pool(id=f"shop/{name}", providers=(bundles.provider(f"{each.url}/v1", name=name),))
            for name, each in (("one", one), ("two", two))
        )
        rules = (
            Rule(
                name="theirs", match=Match(tenants=("other",)), targets=(Target(pool="shop/one"),)
            ),
            Rule(name="ours", targets=(Target(pool="shop/two"),)),
        )
        policy = Policy(id="shop/-", default=True, rules=rules)
        async with gateway(tmp_path, bundles.config(pools=pools, policy=policy)) as served:
            assert (await served.client.get("/files")).status_code == 200
            wanted = {"x-runestone-provider": "one"}
            refused(await served.client.get("/files", headers=wanted), 404, "provider_not_found")
        assert one.requests == []
        assert len(two.requests) == 1


async def test_json_is_tried_again_and_elsewhere(tmp_path: Path) -> None:
    async with scripts.Provider() as one, scripts.Provider(scripts.json_reply(IMAGES)) as two:
        one.queue(scripts.json_reply({}, 401), scripts.json_reply({}, 500))
        first = bundles.provider(f"{one.url}/v1", name="one", credentials=("cred-a", "cred-b"))
        second = bundles.provider(f"{two.url}/v1", name="two", priority=1)
        credentials = {"cred-a": "sk-provider-a", "cred-b": "sk-provider-b"}
        made = bundles.config(first, second)
        async with gateway(tmp_path, made, credentials) as served:
            body = {"model": "gpt-4o-mini", "prompt": "x"}
            answer = await served.client.post("/images/generations", json=body)
        assert answer.json() == IMAGES
        assert answer.headers["x-runestone-attempts"] == "3"
        keys = [r.header("authorization") for r in (*one.requests, *two.requests)]
        assert keys == ["Bearer sk-provider-a", "Bearer sk-provider-b", "Bearer sk-provider-a"]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(scripts.json_reply({}, 500), id="500"),
        pytest.param(scripts.json_reply({}, 401), id="401"),
        pytest.param([scripts.reset()], id="reset"),
    ],
)
async def test_upload_is_never_sent_twice(tmp_path: Path, trouble: scripts.Script) -> None:
    async with scripts.Provider(trouble) as one, scripts.Provider() as two:
        first = bundles.provider(f"{one.url}/v1", name="one", credentials=("cred-a", "cred-b"))
        second = bundles.provider(f"{two.url}/v1", name="two", priority=1)
        credentials = {"cred-a": "sk-provider-a", "cred-b": "sk-provider-b"}
        async with gateway(tmp_path, bundles.config(first, second), credentials) as served:
            body = form(("model", b"gpt-4o-mini"), ("file", b"x"))
            answer = await served.client.post("/images/edits", content=body, headers=FORM)
            refused(answer, 502, "upstream_error")
        assert len(one.requests) == 1
        assert two.requests == []


# --- who may


RESTRICTED = {"allowed_models": ("hear", "paint*")}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("GET", "/files", None, id="files"),
        pytest.param("GET", "/files/file-1/content", None, id="content"),
        pytest.param("DELETE", "/files/file-1", None, id="delete"),
        pytest.param("GET", "/batches", None, id="batches"),
        pytest.param("POST", "/fine_tuning/jobs", {"model": "hear"}, id="fine-tuning"),
        pytest.param("POST", "/moderations", {"input": "x"}, id="no-model"),
    ],
)
async def test_B12_key_for_certain_models_shares_no_account(
    tmp_path: Path, method: str, path: str, body: object
) -> None:
    async with front(tmp_path, RESTRICTED) as found:
        answer = await found.client.request(method, path, json=body)
        refused(answer, 403, "permission_denied")
        assert found.first.peers == found.second.peers == []


@pytest.mark.parametrize("size", [10, 2 * MIB], ids=["early", "late"])
@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        pytest.param([("model", b"hear")], 200, None, id="allowed"),
        pytest.param([("model", b"hear-2")], 404, "model_not_found", id="not-allowed"),
        pytest.param([("model", b"whisper-1")], 404, "model_not_found", id="of-no-pool"),
        pytest.param([], 403, "permission_denied", id="none"),
    ],
)
async def test_B12_key_for_certain_models_uploads_to_these_alone(
    tmp_path: Path, parts: list[tuple[str, bytes]], size: int, status: int, code: str | None
) -> None:
    async with front(tmp_path, RESTRICTED) as found:
        body = form(("file", bytes(size)), *parts)
        answer = await found.client.post("/audio/transcriptions", content=body, headers=FORM)
        if status == 200:
            assert answer.status_code == 200
        else:
            refused(answer, status, code)
            assert found.requests == []  # never whole


@pytest.mark.parametrize("size", [10, 2 * MIB], ids=["early", "late"])
async def test_B12_form_ends_with_its_last_boundary(tmp_path: Path, size: int) -> None:
    """A provider may answer it before the body around it ends."""
    async with front(tmp_path, RESTRICTED) as found:
        seen: list[bytes] = []

        async def answer_at_the_boundary(peer: Peer) -> None:
            seen.append(await peer.read_until(f"--{BOUNDARY}--".encode()))

        found.first._on_connect = [answer_at_the_boundary]
        left = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            yield form(("file", bytes(size)))
            await left.wait()

        asking = asyncio.create_task(
            found.client.post("/audio/transcriptions", content=pieces(), headers=FORM)
        )
        while found.gateway.parts.traffic.served == 0 and not seen:
            await asyncio.sleep(0.002)
        left.set()
        refused(await asking, 403, "permission_denied")
        assert seen == []


async def test_B12_charset_of_a_form_is_not_told(tmp_path: Path) -> None:
    """Some read the names of the parts in it: `+AG0-odel` is `model` in UTF-7."""
    async with front(tmp_path, RESTRICTED) as found:
        body = form(("model", b"hear"), ("+AG0-odel", b"whisper-1"))
        headers = {"content-type": FORM["content-type"] + "; charset=utf-7; boundary*0=abc"}
        answer = await found.client.post("/audio/transcriptions", content=body, headers=headers)
        assert answer.status_code == 200
        assert found.requests[0].header("content-type") == FORM["content-type"]


async def test_no_key_no_call(both: Front) -> None:
    answer = await both.client.get("/files", headers={"authorization": "Bearer sk-wrong"})
    refused(answer, 401, "invalid_api_key")
    assert both.first.peers == []


async def test_requests_count_against_the_keys_limits(tmp_path: Path) -> None:
    limits = {"requests_per_minute": 1}
    async with front(tmp_path, {"limits": limits}) as found:
        assert (await found.client.get("/files")).status_code == 200
        answer = await found.client.get("/files")
        refused(answer, 429, "rate_limit_exceeded")
        assert len(found.requests) == 1


@pytest.mark.parametrize(
    ("roles", "tenants", "status"),
    [
        pytest.param(("Client",), ("a", "a"), 200, id="B12-one-tenant"),
        pytest.param(("Client",), ("a", "b"), 403, id="B12-several-tenants"),
        pytest.param(("Admin",), ("a", "b"), 200, id="B12-an-admin"),
    ],
)
async def test_an_account_is_not_shared_between_tenants(
    tmp_path: Path, roles: tuple[str, ...], tenants: tuple[str, str], status: int
) -> None:
    async with scripts.Provider(scripts.json_reply({"object": "list", "data": []})) as one:
        keys = (
            bundles.key(tenant=tenants[0], roles=roles),
            bundles.key("other", secret="sk-rs-test-other-abcdefghijklmnop", tenant=tenants[1]),
        )
        config = bundles.config(bundles.provider(f"{one.url}/v1"), keys=keys)
        async with gateway(tmp_path, config) as found:
            answers = [await found.client.get(f"/{name}") for name in ("files", "batches")]
    assert [answer.status_code for answer in answers] == [status, status]
    assert len(one.requests) == (2 if status == 200 else 0)
