"""Pools, rules and requests as routing sees them, in a line each."""

import random
from collections.abc import Mapping

from runestone_contract.config import Config, Model, Policy, Pool, Prices, Provider, Rule, Target
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.admit.route import Decision, Query, Router
from runestone_sidecar.config.build import Credentials
from runestone_sidecar.config.snapshot import Principal, Snapshot
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT
from runestone_testing import bundles

CREDENTIALS = Credentials(digest="", values={"cred-a": bundles.PROVIDER_KEY})
URL = "http://127.0.0.1:1/v1"


def snapshot(
    *pools: Pool,
    rules: tuple[Rule, ...] | None = None,
    key: Mapping[str, object] = {},
    **policy: object,
) -> Snapshot:
    everything = Rule(name="all", targets=tuple(Target(pool=pool.id) for pool in pools))
    return bundles.snapshot(
        Config(
            namespace="shop",
            pools=pools,
            keys=(bundles.key(fields=key),),
            policies=(
                Policy.model_validate(
                    {"id": "shop/p", "default": True, "rules": rules or (everything,), **policy}
                ),
            ),
        ),
        CREDENTIALS,
    )


def pool(name: str, *providers: Provider, strategy: str = "Priority") -> Pool:
    return Pool(id=f"shop/{name}", strategy=strategy, providers=providers)


def provider(name: str, *models: str | Model, **fields: object) -> Provider:
    return Provider.model_validate(
        {
            "name": name,
            "dialect": "OpenAI",
            "base_url": URL,
            "models": [bundles.model(m) if isinstance(m, str) else m for m in models or ("m",)],
            **fields,
        }
    )


def priced(name: str, dollars: int) -> Model:
    micro = dollars * 1_000_000
    return Model(name=name, upstream=name, prices=Prices(input=micro, output=micro))


def query(model: str = "m", **fields: object) -> Query:
    given: dict[str, object] = {
        "needs": frozenset({"Chat"}),
        "input_tokens": 100,
        "output_tokens": 100,
        "user": None,
        "header": lambda _: None,
        "surface": OPENAI_CHAT,
        "max_output_tokens": None,
        "choices": 1,
    }
    return Query(model=model, **(given | fields))  # type: ignore[arg-type]


def principal(found: Snapshot) -> Principal:
    return next(iter(found.keys.values()))


def serve(decision: Decision, load: LoadStore, api: str = OPENAI_CHAT.name) -> str:
    """As the pipeline does whose first call is answered; by whom."""
    offers = decision.offers
    if decision.peers is not None:
        offers = decision.peers.put_in_order(offers)
    if len(offers) > 1:
        load.take_turn(offers[0], offers[0], api)
    return offers[0].provider.name


def order(found: Snapshot, asked: Query | None = None, router: Router | None = None) -> list[str]:
    router = router or Router(load=LoadStore(), random=random.Random(1))
    decision = router.decide(found, principal(found), asked or query())
    return [offer.provider.id.removeprefix("shop/") for offer in decision.offers]
