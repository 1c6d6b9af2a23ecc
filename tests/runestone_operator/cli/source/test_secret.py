"""Secrets in files: read as the API server reads them, and never repeated."""

from __future__ import annotations

from typing import Any

import pytest

from runestone_operator.cli.source.secret import InvalidSecretError, parse_secret

CANARY = "sk-canary-0123456789"


def secret(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, **fields}


def test_data_is_base64_and_string_data_is_as_written_and_wins() -> None:
    document = secret(
        type="Opaque",
        immutable=True,
        data={"a": "c2stYQ==", "b": "c2st\nYg==", "empty": None},
        stringData={"b": "plain"},
    )

    assert parse_secret(document) == {"a": b"sk-a", "b": b"plain", "empty": b""}


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        pytest.param({"data": {"a": CANARY}}, "data.a", "is not base64", id="not base64"),
        pytest.param({"stringData": {"a": 5}}, "stringData.a", "must be a string", id="number"),
        pytest.param({"data": CANARY}, "data", "must be a map", id="no map"),
        pytest.param({"data": {"a/b": "YQ=="}}, "data[a/b]", "must be a key of", id="key"),
        pytest.param(
            {"stringdata": {"a": CANARY}}, "stringdata", "did you mean stringData?", id="field"
        ),
    ],
)
def test_a_mistake_is_named_without_the_value(
    fields: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(InvalidSecretError) as refused:
        parse_secret(secret(**fields))

    (error,) = refused.value.errors
    assert error.path == path
    assert message in error.message
    assert CANARY not in str(refused.value)
