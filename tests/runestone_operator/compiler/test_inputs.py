import base64
import hashlib

import pytest

from runestone_operator.api.load import parse
from runestone_operator.api.resource import API_VERSION, ApiKey, ProviderPool
from runestone_operator.compiler.inputs import ValueFact, fact_of, wanted_secrets

KEY = b"sk-rs-0123456789abcdefgh"


@pytest.mark.parametrize(
    ("value", "client_key", "header_safe"),
    [
        (KEY, True, True),
        (KEY + b"\n", True, True),
        (KEY + b"_-Z" * 160, True, True),
        (KEY[:-1], False, True),
        (b"SK-" + KEY[3:], False, True),
        (KEY + b"." + KEY, False, True),
        (b"sk-" + b"x" * 600, False, True),
        (KEY + b"\n" + KEY, False, False),
        (KEY + b" " + KEY, False, False),
        ("sk-\u00e9".encode() + KEY, False, False),
        (KEY + b"\x00", False, False),
        (b"", False, False),
        (b" \n", False, False),
    ],
    ids=[
        "key",
        "key-and-line-end",
        "long-key",
        "too-short",
        "upper-case-prefix",
        "other-characters",
        "too-long",
        "two-lines",
        "space",
        "not-ascii",
        "nul",
        "empty",
        "blank",
    ],
)
def test_facts_about_a_value(value: bytes, client_key: bool, header_safe: bool) -> None:
    bare = value.strip()
    assert fact_of(value) == ValueFact(
        sha256=hashlib.sha256(bare).hexdigest(),
        size=len(bare),
        client_key=client_key,
        prefix="sk-rs-0123" if client_key else "",
        header_safe=header_safe,
    )


def test_wanted_secrets_are_those_that_resources_name() -> None:
    ref = {"name": "n", "key": "k"}
    pool = parse(
        document(
            "ProviderPool",
            "pool",
            {
                "providers": [
                    {
                        "name": "p",
                        "type": "OpenAI",
                        "credentials": [{"secretRef": ref | {"name": "credential"}}],
                        "models": [{"name": "m"}],
                        "tls": {"caSecretRef": ref | {"name": "authority"}},
                    },
                    {
                        "name": "open",
                        "type": "OpenAI",
                        "baseURL": "http://open.example",
                        "models": [{"name": "m"}],
                    },
                ]
            },
        ),
        namespace="far",
    )
    hook = {"allowedURLs": ["https://h.example/*"], "secretRef": ref | {"name": "hook"}}
    generated = parse(document("ApiKey", "made", {"tenant": "t"}))
    brought = parse(
        document(
            "ApiKey",
            "brought",
            {
                "tenant": "t",
                "secretRef": ref | {"name": "mine"},
                "overflow": {"webhooks": hook},
                "signing": {"secretRef": ref | {"name": "signing"}},
            },
        )
    )
    assert isinstance(pool, ProviderPool)
    assert isinstance(generated, ApiKey)
    assert isinstance(brought, ApiKey)
    assert wanted_secrets([pool], [generated, brought]) == {
        ("far", "credential"),
        ("far", "authority"),
        ("default", "made-api-key"),
        ("default", "mine"),
        ("default", "hook"),
        ("default", "signing"),
    }


def document(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


HOOK = b"whsec_" + base64.b64encode(bytes(range(32)))


@pytest.mark.parametrize(
    ("value", "fit"),
    [
        (HOOK, True),
        (HOOK.rstrip(b"="), True),
        (b" ".join([HOOK] * 4), True),
        (b" ".join([HOOK] * 5), False),
        (HOOK.removeprefix(b"whsec_"), False),
        (HOOK + b"!", False),
        (b"whsec_" + b"A", False),
        (b"whsec_" + base64.b64encode(bytes(23)), False),
        (b"whsec_" + base64.b64encode(bytes(65)), False),
        (b"", False),
    ],
    ids=[
        *("secret", "no-padding", "four", "five", "no-prefix", "other-characters"),
        *("no-whole-byte", "too-short", "too-long", "empty"),
    ],
)
def test_a_webhook_secret_is_known_by_its_form(value: bytes, fit: bool) -> None:
    assert fact_of(value).webhook_secret is fit
