"""`runestone explain`: the live path's own decision, in words that a newcomer can act on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from runestone_operator.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_testing.shop import Shop

SECOND_POOL = """\
apiVersion: runestone.dev/v1alpha1
kind: ProviderPool
metadata: {name: spare}
spec:
  providers:
  - name: text-only
    type: OpenAI
    baseURL: http://127.0.0.1:9/v1
    models:
    - {name: house, capabilities: [Chat], cost: {inputPerMillion: "1", outputPerMillion: "1"}}
  - name: locked
    type: Anthropic
    credentials: [{secretRef: {name: lost, key: key}}]
    models: [{name: house}]
"""


def explain(
    capsys: pytest.CaptureFixture[str], shop: Shop, *arguments: str
) -> tuple[int, list[str]]:
    code = main(["explain", "-f", str(shop), *arguments])
    return code, capsys.readouterr().out.splitlines()


@pytest.fixture
def with_spare(shop: Shop) -> Shop:
    shop.write("spare.yaml", SECOND_POOL)
    shop.edit(
        "policy.yaml", "- pool: pool", "- pool: pool\n    fallbacks: [{pool: spare, model: house}]"
    )
    return shop


def test_the_order_the_costs_and_why_not_the_others(
    with_spare: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = explain(capsys, with_spare, "--model", "smart")

    assert code == 0
    assert lines[0] == "ApiKey:    default/app"
    assert lines[1].startswith("Asked for: smart, needs Chat; about ")
    assert lines[2:5] == [
        "Policy:    default/default",
        "Rule:      everything",
        "Model:     gpt-4o",
    ]
    first, second = (line.split() for line in lines if line.startswith(("  1.", "  2.")))
    assert first[:4] == ["1.", "default/pool/demo", "gpt-4o", "about"]
    assert first[4].startswith("$0.")
    assert " ".join(first[5:]) == "(tried first)"
    assert second[1:3] == ["default/spare/text-only", "house"]
    assert " ".join(second[5:]) == "(then, if that fails)"
    assert [line for line in lines if "/health/providers" in line] == [lines[9]]
    assert lines[lines.index("Not used:") + 1 :] == [
        "  default/spare/locked  house:"
        " its credentials are missing: their Secret or key was not found"
    ]


def test_what_a_request_prefers_is_told(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    body = {"model": "smart", "messages": [{"role": "user"}], "reasoning_effort": "high"}
    file = shop.path.parent / "request.json"
    file.write_text(json.dumps(body))
    _, lines = explain(capsys, shop, "--request", str(file))
    assert "needs Chat, prefers Reasoning; about" in lines[1]


def test_what_a_request_needs_decides(with_spare: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": [image]}]}
    with_spare.write("request.json", json.dumps(body))
    (with_spare.path / "request.json").rename(with_spare.path.parent / "request.json")

    code, lines = explain(
        capsys, with_spare, "--request", str(with_spare.path.parent / "request.json")
    )

    assert code == 0
    assert "needs Chat and Vision" in lines[1]
    assert "  default/spare/text-only  house: cannot do what the request needs: Vision" in lines, (
        lines
    )


def test_a_pool_that_the_rule_does_not_lead_to_is_said(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.write("spare.yaml", SECOND_POOL)

    _, lines = explain(capsys, shop, "--model", "gpt-4o")

    assert "  default/spare/text-only  gpt-4o: the rule does not lead to this pool" in lines


def test_headers_take_part(with_spare: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    with_spare.edit(
        "policy.yaml",
        "  rules:\n",
        "  rules:\n  - {name: trial, match: {headers: {x-trial: 'on'}},"
        " targets: [{pool: spare, model: house}]}\n",
    )

    _, lines = explain(capsys, with_spare, "--model", "gpt-4o", "--header", "X-Trial=on")

    assert "Rule:      trial" in lines


@pytest.mark.parametrize(
    ("edit", "arguments", "reason"),
    [
        pytest.param(
            ("key.yaml", "tenant: shop", "tenant: shop\n  allowedModels: ['gpt-4o-mini']"),
            ("--model", "gpt-4o"),
            "Reason:    default/app may only use gpt-4o-mini (spec.allowedModels)",
            id="key",
        ),
        pytest.param(
            None,
            ("--model", "gpt-7"),
            "Reason:    no pool serves gpt-7; served are gpt-4o, gpt-4o-mini",
            id="model",
        ),
        pytest.param(
            ("policy.yaml", "- pool: pool", "- {pool: pool, provider: demo, model: gpt-4o}"),
            ("--model", "gpt-4o", "--key", "nobody"),
            "Refused:   There is no ApiKey nobody. Name one of these: app. (invalid_api_key)",
            id="nobody",
        ),
    ],
)
def test_a_refusal_says_why(
    shop: Shop,
    capsys: pytest.CaptureFixture[str],
    edit: tuple[str, str, str] | None,
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    if edit:
        shop.edit(*edit)

    code, lines = explain(capsys, shop, *arguments)

    assert code == 1
    assert reason in lines


def test_json_is_the_same_for_programs(
    with_spare: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = explain(capsys, with_spare, "--model", "smart", "-o", "json")

    answer = json.loads("\n".join(lines))
    assert code == 0
    assert [item["provider"] for item in answer["order"]] == [
        "default/pool/demo",
        "default/spare/text-only",
    ]
    assert answer["rejected"][0]["reason"] == "CredentialsMissing"


def test_files_with_mistakes_are_not_explained(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.edit("policy.yaml", "default: true", "defaults: true")

    code = main(["explain", "-f", str(shop), "--model", "gpt-4o"])

    told = capsys.readouterr()
    assert code == 1
    assert told.out == ""
    assert "policy.yaml:5: RoutingPolicy/default: spec.defaults: unknown field" in told.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param((), "--model --request is required", id="nothing asked"),
        pytest.param(("--request", "nothing.json"), "nothing.json cannot be read", id="no file"),
        pytest.param(("--model", "m", "--header", "x"), "name=value", id="header"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    shop: Shop, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    try:
        code = main(["explain", "-f", str(shop), *arguments])
    except SystemExit as ended:
        code = int(str(ended.code))

    assert code == 2
    assert message in capsys.readouterr().err


ENDPOINTS = [
    pytest.param("chat/completions", "needs Chat;", id="chat"),
    pytest.param("messages", "needs Chat;", id="messages"),
    pytest.param("responses", "needs Chat;", id="responses"),
    pytest.param("completions", "; about", id="completions"),
]


@pytest.mark.parametrize(("endpoint", "needs"), ENDPOINTS)
def test_a_request_to_each_endpoint(
    shop: Shop, capsys: pytest.CaptureFixture[str], endpoint: str, needs: str
) -> None:
    code, lines = explain(capsys, shop, "--model", "gpt-4o", "--endpoint", endpoint)

    assert code == 0
    assert needs in lines[1]


def test_a_chat_model_is_asked_for_no_embeddings(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = explain(capsys, shop, "--model", "gpt-4o", "--endpoint", "embeddings")

    assert code == 1
    assert "The model 'gpt-4o' does not offer Embeddings." in lines[2]


def test_a_request_of_the_endpoints_own_shape(
    shop: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    turn = {"role": "user", "content": [image]}
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"model": "gpt-4o", "max_tokens": 9, "messages": [turn]}))

    code, lines = explain(capsys, shop, "--request", str(file), "--endpoint", "messages")

    assert code == 0
    assert "needs Chat and Vision;" in lines[1]


def test_what_is_too_long_is_said_in_words(
    shop: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"model": "gpt-4o", "input": "word " * 300_000}))

    code, lines = explain(capsys, shop, "--request", str(file), "--endpoint", "responses")

    assert code == 1
    assert any("gpt-4o: the request is too long for it: about " in line for line in lines)
