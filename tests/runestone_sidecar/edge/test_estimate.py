"""`POST /v1/cost/estimate`: the live routing's candidates, with what each would cost."""

from pathlib import Path

from runestone_contract.config import Prices
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import gateway, question

URL = "/cost/estimate"


async def test_candidates_come_cheapest_first_and_nobody_is_called(tmp_path: Path) -> None:
    async with scripts.Provider() as one:
        dear, cheap, unknown = (
            bundles.provider(f"{one.url}/v1", name=name) for name in ("dear", "cheap", "unknown")
        )
        priced = {"dear": Prices(input=2_000_000, output=8_000_000), "unknown": None}
        providers = [
            each.model_copy(
                update={
                    "models": tuple(
                        model.model_copy(update={"prices": priced[each.name]})
                        if each.name in priced
                        else model
                        for model in each.models
                    )
                }
            )
            for each in (dear, cheap, unknown)
        ]
        async with gateway(tmp_path, bundles.config(*providers)) as found:
            answer = await found.client.post(URL, json=question(max_tokens=100))
        assert one.requests == []
    body = answer.json()
    assert body["object"] == "runestone.cost_estimate"
    assert body["output_tokens"] == 100
    assert [each["provider"].rpartition("/")[2] for each in body["estimates"]] == [
        "cheap",
        "dear",
        "unknown",
    ]
    tokens = body["input_tokens"]
    assert float(body["estimates"][1]["cost_usd"]) == (tokens * 2 + 100 * 8) / 1e6
    assert body["estimates"][2]["cost_usd"] is None


async def test_what_the_key_may_not_use_is_unknown(tmp_path: Path) -> None:
    config = bundles.config(bundles.provider("http://127.0.0.1:9/v1"))
    async with gateway(tmp_path, config) as found:
        answer = await found.client.post(URL, json=question(model="gpt-9"))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


async def test_a_prompt_far_too_long_for_a_model_is_told_so(tmp_path: Path) -> None:
    config = bundles.config(bundles.provider("http://127.0.0.1:9/v1"))
    long = [{"role": "user", "content": "word and word " * 100_000}]
    async with gateway(tmp_path, config) as found:
        answer = await found.chat(messages=long)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


async def test_server_timing_tells_the_stages_when_asked(tmp_path: Path) -> None:
    from runestone_testing.echo import completion

    async with scripts.Provider(scripts.json_reply(completion("fine"))) as one:
        config = bundles.config(bundles.provider(f"{one.url}/v1"))
        async with gateway(tmp_path, config) as found:
            asked = {"x-runestone-debug": "timing"}
            timed = await found.client.post("/chat/completions", json=question(), headers=asked)
            plain = await found.chat()
    stages = [stage.partition(";dur=") for stage in timed.headers["server-timing"].split(", ")]
    assert [name for name, _, _ in stages] == ["auth", "read", "route", "limits", "provider"]
    assert all(float(milliseconds) >= 0 for _, _, milliseconds in stages)
    assert "server-timing" not in plain.headers
