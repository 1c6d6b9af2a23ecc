"""One stand-in for both vendors and one sidecar before it, shared by all suites of real clients.

A model's name says the provider's dialect: gpt-… is at a provider of OpenAI's, claude-… at one of
Anthropic's, both known to the same key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_contract.config import Pool, Retry
from runestone_testing import bundles, model_anthropic, model_openai
from runestone_testing.model import Model, running_model
from runestone_testing.model_refusing import REFUSED_STATUSES, refused_name
from runestone_testing.sidecar import Sidecar, running_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_contract.config import Provider


@pytest.fixture(scope="session")
def provider() -> Iterator[Model]:
    with running_model() as found:
        yield found


@pytest.fixture(scope="session")
def sidecar(provider: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    root = tmp_path_factory.mktemp("bundle")
    once = Retry(max_attempts=1)  # what a provider answers is what the client gets
    openai = bundles.provider(
        f"{provider.url}/v1", name="openai", models=model_openai.MODELS, retry=once
    )
    anthropic = bundles.provider(
        provider.url,
        name="anthropic",
        dialect="Anthropic",
        models=tuple(model_anthropic.MODELS),
        retry=once,
    )
    fragile = (
        _behind(each, dialect=dialect, status=status)
        for dialect, each in (("openai", openai), ("anthropic", anthropic))
        for status in REFUSED_STATUSES
    )
    pools = tuple(
        Pool(id=f"shop/{each.name}", providers=(each,)) for each in (openai, anthropic, *fragile)
    )
    bundles.publish(root, bundles.config(pools=pools))
    with running_sidecar(root, root) as found:
        yield found


def _behind(provider: Provider, *, dialect: str, status: int) -> Provider:
    """The same under a name of its own: a failure keeps traffic from a provider for a while."""
    first = provider.models[0]
    renamed = first.model_copy(update={"name": refused_name(dialect, status)})
    return provider.model_copy(update={"name": f"{dialect}-{status}", "models": (renamed,)})


@pytest.fixture(autouse=True)
def nothing_left_to_refuse(provider: Model) -> Iterator[None]:
    yield
    left = list(provider.refusals)
    provider.refusals.clear()
    assert left == [], "a refusal was scripted that no request met"
