"""`runestone validate`: each mistake at its line, in words, with the exit code that CI goes by."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from runestone_operator.cli.main import main

if TYPE_CHECKING:
    from runestone_testing.shop import Shop

CANARIES = ("canary", "0123456789")


def validate(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    code = main(["validate", *arguments])
    return code, capsys.readouterr().out.splitlines()


def in_shop(shop: Shop, lines: list[str]) -> list[str]:
    return [line.replace(f"{shop}/", "") for line in lines]


def test_what_is_whole_passes(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(capsys, "-f", str(shop)) == (0, ["3 resources, 0 errors, 0 warnings"])


# What to break (file, from, to), and where it is to be found.
BROKEN = {
    "unknown field": (
        ("key.yaml", "tenant: shop", "tenant: shop\n  allowedModel: [gpt-4o]"),
        "key.yaml:6: ApiKey/app: spec.allowedModel: unknown field (did you mean allowedModels?)",
    ),
    "form": (
        ("pool.yaml", "type: OpenAI", "type: OpenAI\n    timeouts: {connect: soon}"),
        "pool.yaml:8: ProviderPool/pool: spec.providers[0].timeouts.connect: must be a duration",
    ),
    "YAML": (("policy.yaml", "default: true", "default: : true"), "policy.yaml:5: not valid YAML"),
    "Secret not there": (
        ("pool.yaml", "name: keys", "name: kees"),
        "pool.yaml:10: ProviderPool/pool: spec.providers[0].credentials[0].secretRef:"
        ' provider "demo": Secret "kees" is not found',
    ),
    "key of a Secret not there": (
        ("pool.yaml", "key: provider}", "key: client}\n    - secretRef: {name: keys, key: other}"),
        "pool.yaml:11: ProviderPool/pool: spec.providers[0].credentials[1].secretRef:"
        ' provider "demo": Secret "keys" has no key "other"',
    ),
    "empty key": (
        ("secrets.yaml", "provider: sk-canary-provider-0123456789abcdef", "provider: ''"),
        "pool.yaml:10: ProviderPool/pool: spec.providers[0].credentials[0].secretRef:"
        ' provider "demo": key "provider" of Secret "keys" is empty',
    ),
    "key of no header": (
        ("secrets.yaml", "provider: sk-canary-provider", "provider: sk canary"),
        "pool.yaml:10: ProviderPool/pool: spec.providers[0].credentials[0].secretRef:"
        ' provider "demo": key "provider" of Secret "keys" cannot be sent in a header',
    ),
    "authority not there": (
        (
            "pool.yaml",
            "baseURL: http://127.0.0.1:9/v1",
            "baseURL: https://127.0.0.1:9/v1\n    tls:\n      caSecretRef: {name: lost, key: ca}",
        ),
        "pool.yaml:10: ProviderPool/pool: spec.providers[0].tls.caSecretRef:"
        ' provider "demo", tls: Secret "lost" is not found',
    ),
    "client key in the wrong form": (
        ("secrets.yaml", "client: sk-rs-canary", "client: canary"),
        "key.yaml:6: ApiKey/app: spec.secretRef: the client key:",
    ),
    "client key of a provider": (
        ("key.yaml", "key: client", "key: provider"),
        "key.yaml:6: ApiKey/app: spec.secretRef: the client key is a provider's credential",
    ),
    "policy not there": (
        ("key.yaml", "tenant: shop", "tenant: shop\n  routingPolicyRef: {name: other}"),
        'key.yaml:6: ApiKey/app: spec.routingPolicyRef: RoutingPolicy "other" is not found',
    ),
    "webhook secret not there": (
        (
            "key.yaml",
            "tenant: shop",
            "tenant: shop\n  overflow:\n    webhooks:\n      allowedURLs: ['https://a.example/*']\n"
            "      secretRef: {name: lost, key: s}",
        ),
        "key.yaml:9: ApiKey/app: spec.overflow.webhooks.secretRef: Secret",
    ),
    "pool not there": (
        ("policy.yaml", "- pool: pool", "- pool: pol"),
        'policy.yaml:11: RoutingPolicy/default: spec.rules[0].targets[0].pool: ProviderPool "pol"',
    ),
    "provider not there": (
        ("policy.yaml", "- pool: pool", "- pool: pool\n      provider: other"),
        "policy.yaml:12: RoutingPolicy/default: spec.rules[0].targets[0].provider: ProviderPool",
    ),
    "model not there": (
        (
            "policy.yaml",
            "- pool: pool",
            "- pool: pool\n    fallbacks:\n    - {pool: pool, model: x}",
        ),
        "policy.yaml:13: RoutingPolicy/default: spec.rules[0].fallbacks[0].model: ProviderPool",
    ),
    "alias of no model": (
        ("policy.yaml", "smart: gpt-4o", "smart: gpt-5o"),
        'policy.yaml:7: RoutingPolicy/default: spec.aliases.smart: alias "smart": no pool serves',
    ),
    "ApiKey not there": (
        ("policy.yaml", "targets:", "match: {apiKeys: [ap]}\n    targets:"),
        "policy.yaml:10: RoutingPolicy/default: spec.rules[0].match.apiKeys: match.apiKeys",
    ),
}


@pytest.mark.parametrize(("edit", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_a_mistake_is_told_with_its_line(
    shop: Shop,
    capsys: pytest.CaptureFixture[str],
    edit: tuple[str, str, str],
    expected: str,
) -> None:
    shop.edit(*edit)

    code, lines = validate(capsys, "-f", str(shop))

    told = in_shop(shop, lines)
    assert code == 1
    assert told[0] == "Errors:"
    assert [line for line in told if line.startswith(expected)], told
    assert not any(canary in line for line in told for canary in CANARIES)


def test_two_of_a_kind_that_clash_are_told_at_the_newer(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, old in (("key", "name: app}"), ("policy", "name: default}")):
        text = (shop.path / f"{name}.yaml").read_text()
        shop.write(f"{name}-2.yaml", text.replace(old, "name: second}"))

    code, lines = validate(capsys, "-f", str(shop))

    assert code == 1
    assert in_shop(shop, lines) == [
        "Errors:",
        'key-2.yaml:6: ApiKey/second: spec.secretRef: ApiKey "app", which is older, has the same'
        " key: this one lets nobody in",
        'policy-2.yaml:5: RoutingPolicy/second: spec.default: RoutingPolicy "default", which is'
        " older, is the default: this one is not",
        "5 resources, 2 errors, 0 warnings",
    ]


def test_a_secret_in_the_place_of_a_generated_key_is_an_error_as_in_a_cluster(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.edit("key.yaml", "  secretRef: {name: keys, key: client}\n", "")
    shop.edit("secrets.yaml", "metadata: {name: keys}", "metadata: {name: app-api-key}")
    shop.edit("pool.yaml", "name: keys", "name: app-api-key")

    code, lines = validate(capsys, "-f", str(shop))

    assert code == 1
    assert "does not belong to this ApiKey" in lines[1]


def test_a_secret_that_the_operator_made_is_the_keys_own(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `kubectl get secret -o yaml` gives it."""
    shop.edit("key.yaml", "  secretRef: {name: keys, key: client}\n", "")
    shop.write(
        "generated.yaml",
        """\
        apiVersion: v1
        kind: Secret
        metadata:
          name: app-api-key
          ownerReferences:
          - {apiVersion: runestone.dev/v1alpha1, kind: ApiKey, name: app, controller: true}
        data:
          api-key: c2stcnMtY2FuYXJ5LWNsaWVudC0wMTIzNDU2Nzg5YWJjZGVm
        """,
    )

    assert validate(capsys, "-f", str(shop)) == (0, ["3 resources, 0 errors, 0 warnings"])


def test_a_mistake_in_a_secret_is_told_without_its_value(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.edit("secrets.yaml", "stringData:", "data:")

    code, lines = validate(capsys, "-f", str(shop))

    assert code == 1
    assert in_shop(shop, lines)[-3:-1] == [
        "secrets.yaml:5: Secret/keys: data.provider:"
        " is not base64; text as it is goes into stringData",
        "secrets.yaml:6: Secret/keys: data.client:"
        " is not base64; text as it is goes into stringData",
    ]
    assert not any("canary" in line for line in lines)


def test_warnings_are_told_apart_and_pass(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.edit("pool.yaml", "name: gpt-4o-mini", "name: house-model")
    shop.edit("key.yaml", "tenant: shop", "tenant: shop\n  allowedModels: ['gpt-4o', 'x-*']")
    shop.edit("policy.yaml", "targets:", "match: {models: [gpt-5]}\n    targets:")
    shop.edit("policy.yaml", "default: true", "default: true\n  cache: {enabled: true}")

    code, lines = validate(capsys, "-f", str(shop))

    assert code == 0
    assert in_shop(shop, lines) == [
        "Warnings:",
        "key.yaml:6: ApiKey/app: spec.allowedModels: no pool serves a model that matches x-*",
        "policy.yaml:6: RoutingPolicy/default: spec.cache:"
        " accepted, not yet enforced in this version: spec.cache",
        "policy.yaml:11: RoutingPolicy/default: spec.rules[0].match.models:"
        " no pool serves a model that matches gpt-5",
        "pool.yaml:13: ProviderPool/pool: spec.providers[0].models[1]:"
        " no price known for: house-model",
        "3 resources, 0 errors, 4 warnings",
    ]


def test_more_mistakes_than_a_condition_holds_are_all_told(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = "".join(f"\n    - pool: no-{number}" for number in range(15))
    shop.edit("policy.yaml", "\n    - pool: pool", f"\n    - pool: pool{targets}")

    _, lines = validate(capsys, "-f", str(shop))

    assert lines[-1] == "3 resources, 15 errors, 0 warnings"


def test_secrets_may_be_kept_elsewhere(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    (shop.path / "secrets.yaml").unlink()

    code, lines = validate(capsys, "-f", str(shop))
    assert code == 1
    assert lines[-2].endswith("give --without-secrets.")

    assert validate(capsys, "-f", str(shop), "--without-secrets") == (
        0,
        ["3 resources, 0 errors, 0 warnings"],
    )


def test_a_generated_key_needs_nothing_and_leaves_nothing(
    shop: Shop, capsys: pytest.CaptureFixture[str], state_home: object
) -> None:
    shop.edit("key.yaml", "  secretRef: {name: keys, key: client}\n", "")

    assert validate(capsys, "-f", str(shop)) == (0, ["3 resources, 0 errors, 0 warnings"])
    assert not (shop.path.parent / "state").exists()


def test_every_namespace_is_looked_at_and_a_shared_pool_is_honoured(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.edit("pool.yaml", "name: pool}", "name: pool, namespace: default}")
    shop.edit("pool.yaml", "spec:", "spec:\n  sharing: {namespaces: All}")
    shop.write(
        "other.yaml",
        """\
        apiVersion: runestone.dev/v1alpha1
        kind: RoutingPolicy
        metadata: {name: theirs, namespace: other}
        spec:
          default: true
          rules:
          - {name: private, match: {models: [gpt-4o]}, targets: [{pool: default/none}]}
          - {name: shared, targets: [{pool: default/pool}]}
        """,
    )

    code, lines = validate(capsys, "-f", str(shop))
    assert code == 1
    (line,) = in_shop(shop, lines[1:-1])
    assert line.startswith("other.yaml:7: RoutingPolicy/theirs: spec.rules[0].targets[0].pool:")

    code, lines = validate(capsys, "-f", str(shop), "-n", "default")
    assert (code, lines) == (0, ["4 resources, 0 errors, 0 warnings"])


def test_other_kinds_are_named_and_skipped(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.write("app.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\n")

    code, lines = validate(capsys, "-f", str(shop))

    assert code == 0
    assert in_shop(shop, lines) == [
        "Skipped, since Runestone does not use them: Deployment (app.yaml:1)",
        "3 resources, 0 errors, 0 warnings",
    ]


def test_json_says_the_same(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.edit("policy.yaml", "- pool: pool", "- pool: pol")
    shop.edit("key.yaml", "tenant: shop", "tenant: shop\n  signing: {tolerance: 1m}")

    code = main(["validate", "-f", str(shop), "-o", "json"])
    said = json.loads(capsys.readouterr().out)

    assert code == 1
    assert said["resources"] == 3
    (error,) = said["errors"]
    assert error["file"] == f"{shop}/policy.yaml"
    assert (error["line"], error["resource"]) == (11, "RoutingPolicy/default")
    assert error["path"] == "spec.rules[0].targets[0].pool"
    assert [warning["path"] for warning in said["warnings"]] == ["spec.signing"]


def test_standard_input_is_a_file_too(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (shop.path / "key.yaml").read_text().replace("tenant", "tenat")
    stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)

    code, lines = validate(capsys, "-f", "-", "--without-secrets")

    assert code == 1
    assert lines[1].startswith("<stdin>:4: ApiKey/app: spec.tenant: is required")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "-f/--file", id="no file"),
        pytest.param(["-f", "nothing.yaml"], "there is no file or folder", id="no such file"),
        pytest.param(["-f", ".", "-n", "Shop"], "a namespace is lower case", id="namespace"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    try:
        code = main(["validate", *arguments])
    except SystemExit as ended:
        code = int(str(ended.code))

    assert code == 2
    assert message in capsys.readouterr().err


def test_files_without_resources_are_a_mistake(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in shop.path.iterdir():
        file.unlink()

    code, lines = validate(capsys, "-f", str(shop))

    assert code == 1
    assert lines[1] == f"{shop}: no ProviderPool, ApiKey or RoutingPolicy is in there"
