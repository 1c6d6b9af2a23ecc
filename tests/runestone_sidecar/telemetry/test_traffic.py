"""Label sets are those of the configuration: no client adds one, and what is gone goes."""

from pathlib import Path

import pytest

from runestone_contract.config import Config, Policy, Pool, Rule, Target
from runestone_sidecar.telemetry import traffic as traffic_module
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import gateway
from runestone_testing.provider import json_reply

OK = json_reply(completion("fine"))


async def test_g17_a_rule_that_takes_any_name_makes_no_label_of_it(tmp_path: Path) -> None:
    everything = Rule(name="all", targets=(Target(pool="shop/pool", model="gpt-4o-mini"),))
    async with scripts.Provider(OK) as one:
        config = bundles.config(
            pools=(Pool(id="shop/pool", providers=(bundles.provider(f"{one.url}/v1"),)),),
            policy=Policy(id="shop/-", default=True, rules=(everything,)),
        )
        async with gateway(tmp_path, config) as found:
            for number in range(20):
                answer = await found.chat(model=f"invented-{number}")
                assert answer.status_code == 200
            for path in ("/models/invented", "/invented"):
                await found.client.get(path)
            metrics = found.metrics()
    assert "gpt-4o-mini" in metrics
    assert "invented" not in metrics


async def test_what_is_configured_no_more_is_forgotten_once_it_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(name: str) -> Config:
        return bundles.config(
            bundles.provider(f"{one.url}/v1", name=name), keys=(bundles.key(f"key-of-{name}"),)
        )

    async with scripts.Provider(OK) as one, gateway(tmp_path, config("first")) as found:
        await found.chat()
        bundles.publish(tmp_path, config("second"))
        await found.parts.source.refresh()
        await found.chat()
        assert "of-first" in found.metrics(), "Prometheus may not have seen the last of it"
        monkeypatch.setattr(traffic_module, "MAX_LABEL_SETS", 1)
        bundles.publish(tmp_path, config("third"))
        await found.parts.source.refresh()
        await found.chat()
        await found.client.get("/nowhere")
        metrics = found.metrics()
    assert "of-first" not in metrics
    assert "of-second" not in metrics
    assert "pool/first" not in metrics
    assert "key-of-third" in metrics
    assert 'provider="-",status="404"' in metrics
