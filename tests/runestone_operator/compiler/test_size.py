import pytest

from runestone_operator.api.load import parse
from runestone_operator.api.resource import API_VERSION, ApiKey
from runestone_operator.compiler.compile import compile_namespace
from runestone_operator.compiler.inputs import Inputs, fact_of


@pytest.fixture(scope="module")
def many_globs() -> list[str]:
    return [f"{number:03}-{'x' * 120}" for number in range(256)]


def namespace_of(count: int, globs: list[str]) -> Inputs:
    keys: list[ApiKey] = []
    for number in range(count):
        document = {
            "apiVersion": API_VERSION,
            "kind": "ApiKey",
            "metadata": {"name": f"key-{number}", "namespace": "shop"},
            "spec": {"tenant": "t", "allowedModels": globs},
        }
        key = parse(document)
        assert isinstance(key, ApiKey)
        keys.append(key)
    secrets = {
        ("shop", f"key-{number}-api-key"): {"api-key": fact_of(b"sk-%021d" % number)}
        for number in range(count)
    }
    return Inputs(namespace="shop", keys=keys, secrets=secrets)


def test_what_does_not_fit_is_not_published_in_part(many_globs: list[str]) -> None:
    compiled = compile_namespace(namespace_of(400, many_globs))
    assert compiled.bundle is None
    assert compiled.too_large is not None
    assert compiled.too_large.startswith("the namespace's configuration takes 13")
    assert len(compiled.config.keys) == 400


def test_what_fits_is_published_in_parts(many_globs: list[str]) -> None:
    compiled = compile_namespace(namespace_of(100, many_globs))
    assert compiled.too_large is None
    assert compiled.bundle is not None
    assert len(compiled.bundle.shards) == 8


def test_messages_are_bounded(many_globs: list[str]) -> None:
    compiled = compile_namespace(namespace_of(1, many_globs))
    accepted = compiled.verdicts[0].message
    assert accepted.endswith("and 247 more")
    assert len(accepted) < 2_000
