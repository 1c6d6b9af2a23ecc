"""`explain` refuses whom the live path would refuse, and tells no secret."""

import io
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from runestone_contract.config import Key
from runestone_sidecar.explain import explain
from runestone_sidecar.pipeline.prepare import BYTES_PER_TOKEN
from runestone_sidecar.settings import Settings
from runestone_testing import bundles
from runestone_testing.gateway import question


def ask(root: Path, key: Key) -> tuple[int, dict[str, Any], str]:
    bundles.publish(root, bundles.config(bundles.provider("http://127.0.0.1:1/v1"), keys=(key,)))
    out = io.StringIO()
    asked = json.dumps({"api_key": "app", "headers": {}, "body": question()}).encode()
    code = explain(Settings(root / "config", root / "credentials"), asked, out)
    return code, json.loads(out.getvalue()), out.getvalue()


def test_a_request_that_would_be_routed(tmp_path: Path) -> None:
    code, answer, text = ask(tmp_path, bundles.key())
    assert code == 0
    assert [offer["provider"] for offer in answer["order"]] == ["shop/pool/main"]
    assert answer["asked"]["input_tokens"] == len(orjson.dumps(question())) // BYTES_PER_TOKEN
    assert bundles.PROVIDER_KEY not in text


@pytest.mark.parametrize(
    "fields",
    [pytest.param({"enabled": False}, id="disabled"), pytest.param({"expires_at_s": 1}, id="B9")],
)
def test_a_key_that_would_be_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    code, answer, _ = ask(tmp_path, bundles.key(fields=fields))
    assert code == 1
    assert answer["error"]["code"] == "invalid_api_key"
    assert answer["api_key"] == "shop/app"
    assert "order" not in answer
