"""Endpoints that are handed on, through OpenAI's own SDK; their bodies are the client's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from runestone_testing import provider as scripts
from runestone_testing.front import (
    BATCH,
    FILE,
    FORM,
    IMAGES,
    JOB,
    MODERATION,
    TRANSCRIPT,
    Front,
    form,
    front,
    refused,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MIB = 2**20


@pytest_asyncio.fixture
async def both(tmp_path: Path) -> AsyncIterator[Front]:
    async with front(tmp_path) as found:
        yield found


# --- the SDK


async def test_files(both: Front) -> None:
    both.first.queue(
        scripts.json_reply(FILE),
        scripts.json_reply({"object": "list", "data": [FILE], "has_more": False}),
        scripts.json_reply(FILE),
        scripts.reply(
            b"\x00\xffline\n",
            headers=[("content-disposition", 'attachment; filename="a.jsonl"')],
            content_type="application/octet-stream",
        ),
        scripts.json_reply({"id": "file-1", "object": "file", "deleted": True}),
    )
    async with both.sdk() as sdk:
        made = await sdk.files.create(file=("a.jsonl", b"{}\n\r\n"), purpose="batch")
        assert made.id == "file-1"
        listed = await sdk.files.list(purpose="batch", limit=2)
        assert [each.id for each in listed.data] == ["file-1"]
        assert (await sdk.files.retrieve("file-1")).filename == "a.jsonl"
        content = await sdk.files.content("file-1")
        assert content.content == b"\x00\xffline\n"
        assert content.response.headers["content-disposition"] == 'attachment; filename="a.jsonl"'
        assert (await sdk.files.delete("file-1")).deleted
    assert [(r.method, r.target) for r in both.requests] == [
        ("POST", "/v1/files"),
        ("GET", "/v1/files?limit=2&purpose=batch"),
        ("GET", "/v1/files/file-1"),
        ("GET", "/v1/files/file-1/content"),
        ("DELETE", "/v1/files/file-1"),
    ]
    sent = both.requests[0]
    assert b'name="purpose"\r\n\r\nbatch\r\n' in sent.body
    assert b"{}\n\r\n" in sent.body
    assert str(sent.header("content-type")).startswith("multipart/form-data; boundary=")
    assert both.requests[1].header("content-type") is None
    assert both.second.requests == []


async def test_batches_and_fine_tuning(both: Front) -> None:
    answers = [BATCH, {"object": "list", "data": [BATCH]}, BATCH, BATCH]
    answers += [JOB, {"object": "list", "data": [JOB]}, JOB, JOB, {"object": "list", "data": []}]
    both.first.queue(*map(scripts.json_reply, answers))
    async with both.sdk() as sdk:
        await sdk.batches.create(
            completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-1"
        )
        assert (await sdk.batches.list(after="batch_0")).data[0].id == "batch_1"
        await sdk.batches.retrieve("batch_1")
        await sdk.batches.cancel("batch_1")
        await sdk.fine_tuning.jobs.create(model="gpt-4o-mini", training_file="file-1")
        assert (await sdk.fine_tuning.jobs.list()).data[0].id == "ftjob-1"
        await sdk.fine_tuning.jobs.retrieve("ftjob-1")
        await sdk.fine_tuning.jobs.cancel("ftjob-1")
        await sdk.fine_tuning.jobs.list_events("ftjob-1", limit=3)
    assert [(r.method, r.target) for r in both.requests] == [
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches?after=batch_0"),
        ("GET", "/v1/batches/batch_1"),
        ("POST", "/v1/batches/batch_1/cancel"),
        ("POST", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/fine_tuning/jobs/ftjob-1"),
        ("POST", "/v1/fine_tuning/jobs/ftjob-1/cancel"),
        ("GET", "/v1/fine_tuning/jobs/ftjob-1/events?limit=3"),
    ]
    assert both.requests[4].json()["model"] == "gpt-4o-mini"  # the provider's own name for it
    assert both.second.requests == []


async def test_moderations(both: Front) -> None:
    both.first.answer = scripts.json_reply(MODERATION)
    async with both.sdk() as sdk:
        assert (await sdk.moderations.create(input="hello")).id == "modr-1"
        await sdk.moderations.create(input="hello", model="omni-moderation-latest")
    assert "model" not in both.requests[0].json()
    assert both.requests[1].json()["model"] == "omni-moderation-latest"  # of no pool: as it is


async def test_speech_streams(both: Front) -> None:
    both.first.answer = scripts.chunked(b"ID3\x00", b"\xff\xfb" * 9, content_type="audio/mpeg")
    async with both.sdk() as sdk:
        said = await sdk.audio.speech.create(model="speak", voice="alloy", input="hi")
        assert said.content == b"ID3\x00" + b"\xff\xfb" * 9
        assert said.response.headers["content-type"] == "audio/mpeg"


async def test_transcription(both: Front, capfd: pytest.CaptureFixture[str]) -> None:
    both.second.answer = scripts.json_reply(TRANSCRIPT)
    async with both.sdk() as sdk:
        heard = await sdk.audio.transcriptions.create(model="hear-2", file=("a.wav", b"RIFF\x00"))
        assert heard.text == TRANSCRIPT["text"]
    (request,) = both.second.requests
    assert request.target == "/v1/audio/transcriptions"
    assert b"RIFF\x00" in request.body
    (line,) = both.lines(capfd)
    assert (line["model"], line["provider"]) == ("hear-2", "shop/pool/two")
    assert (line["input_tokens"], line["output_tokens"]) == (14, 45)
    assert "usage_estimated" not in line
    spent = both.gateway.parts.traffic.spent["shop/app", "hear-2", "shop/pool/two"]
    assert (spent.input_tokens, spent.output_tokens) == (14, 45)


async def test_images(both: Front, capfd: pytest.CaptureFixture[str]) -> None:
    both.second.answer = scripts.json_reply(IMAGES)
    async with both.sdk() as sdk:
        made = await sdk.images.generate(model="art", prompt="a cat")
        assert made.data is not None
        assert made.data[0].b64_json == "aGk="
        await sdk.images.edit(model="paint", image=("a.png", b"\x89PNG"), prompt="a dog")
    generated, edited = both.second.requests
    assert generated.json() == {"model": "paint-v2", "prompt": "a cat"}
    assert b'name="model"\r\n\r\npaint-v2\r\n' in edited.body
    assert b"\x89PNG" in edited.body
    lines = both.lines(capfd)
    assert [(line["model"], line["output_tokens"]) for line in lines] == [("paint", 60)] * 2


async def test_image_stream_passes_as_it_comes(both: Front) -> None:
    gate = asyncio.Event()
    first = scripts.event({"b64_json": "x" * 9000}, "image_generation.partial_image")
    last = scripts.event({"usage": {"input_tokens": 5, "output_tokens": 6}}, "x.completed")
    both.second.answer = [
        scripts.head(content_type=scripts.SSE),
        scripts.chunk(first),
        scripts.until(gate),
        scripts.chunk(last) + scripts.LAST_CHUNK,
    ]
    asked = {"model": "paint", "prompt": "x", "stream": True}
    async with both.client.stream("POST", "/images/generations", json=asked) as answer:
        received = b""
        async for part in answer.aiter_raw():
            received += part
            if received == first:
                gate.set()
    assert received == first + last
    spent = both.gateway.parts.traffic.spent["shop/app", "paint", "shop/pool/two"]
    assert (spent.input_tokens, spent.output_tokens) == (5, 6)


# --- bodies


async def test_json_is_the_clients_own_but_for_the_model(both: Front) -> None:
    body = b'{ "prompt":"x" ,"model" : "paint", "n":1.50 }'
    headers = {"content-type": "application/json"}
    await both.client.post("/images/generations", content=body, headers=headers)
    assert both.second.requests[0].body == body.replace(b'"paint"', b'"paint-v2"')


async def test_form_is_the_clients_own_but_for_the_model(both: Front) -> None:
    body = form(("model", b"paint"), ("file", b"\r\n--xy\r\n" + bytes(300_000)), ("n", b"1"))
    await both.client.post("/images/edits", content=body, headers=FORM)
    (request,) = both.second.requests
    assert request.body == body.replace(b"\r\n\r\npaint\r\n", b"\r\n\r\npaint-v2\r\n")
    assert request.header("content-length") == str(len(body) + 3)


async def test_form_without_a_length_goes_without_one(both: Front) -> None:
    body = form(("model", b"paint"), ("file", bytes(300_000)))

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    await both.client.post("/images/edits", content=pieces(), headers=FORM)
    (request,) = both.second.requests
    assert request.header("transfer-encoding") == "chunked"
    assert request.body == body.replace(b"\r\n\r\npaint\r\n", b"\r\n\r\npaint-v2\r\n")


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        pytest.param(b"hear", 200, None, id="served-here"),
        pytest.param(b"whisper-1", 200, None, id="of-no-pool"),
        pytest.param(b"hear-2", 400, None, id="served-elsewhere"),
        pytest.param(b"art", 400, None, id="alias-of-elsewhere"),
    ],
)
async def test_model_after_a_large_file_may_only_confirm(
    both: Front, model: bytes, status: int, code: str | None
) -> None:
    body = form(("file", bytes(2 * MIB)), ("model", model))
    answer = await both.client.post("/audio/transcriptions", content=body, headers=FORM)
    if status == 200:
        assert answer.status_code == 200
        assert both.requests[0].body == body
        return
    error = refused(answer, status, code)
    assert error["param"] == "model"
    assert "before the file" in error["message"]
    assert both.requests == []  # never whole
    await both.first.peers[0].closed()


async def test_model_after_a_small_file_decides(both: Front) -> None:
    body = form(("file", bytes(1000)), ("model", b"hear-2"))
    answer = await both.client.post("/audio/transcriptions", content=body, headers=FORM)
    assert answer.status_code == 200
    assert both.second.requests[0].body == body


@pytest.mark.parametrize("size", [10, 2 * MIB], ids=["early", "late"])
async def test_two_models_are_never_whole(both: Front, size: int) -> None:
    body = form(("model", b"hear"), ("file", bytes(size)), ("model", b"hear-2"))
    answer = await both.client.post("/audio/transcriptions", content=body, headers=FORM)
    assert refused(answer, 400, None)["param"] == "model"
    assert both.requests == []


@pytest.mark.parametrize("size", [10, 2 * MIB], ids=["early", "late"])
async def test_form_without_its_end_is_never_whole(both: Front, size: int) -> None:
    body = form(("model", b"hear"), ("file", bytes(size))).removesuffix(b"--\r\n")
    answer = await both.client.post("/audio/transcriptions", content=body, headers=FORM)
    refused(answer, 400, None)
    assert both.requests == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"content-type": "text/plain"}, 415, id="text"),
        pytest.param({"content-type": "application/json"}, 400, id="not-json"),
        pytest.param({"content-type": "multipart/form-data"}, 400, id="no-boundary"),
        pytest.param({**FORM, "content-encoding": "gzip"}, 415, id="compressed"),
        pytest.param({"content-type": "multipart/mixed; boundary=xyz"}, 400, id="mixed"),
    ],
)
async def test_A11_bodies_of_other_kinds(both: Front, headers: dict[str, str], status: int) -> None:
    answer = await both.client.post("/audio/transcriptions", content=b"x", headers=headers)
    assert answer.status_code == status
    assert both.first.peers == []
