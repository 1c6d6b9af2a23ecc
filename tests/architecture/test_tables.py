"""sidecar/TABLES.md holds every row of every table of the code's; hack/check keeps it exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.config.build import DIALECTS
from runestone_sidecar.pipeline.verdicts import rows
from runestone_sidecar.settings import NUMBERS, TEXTS, Number, Text
from runestone_sidecar.upstream.dialects.anthropic_fields import FIELDS as ANTHROPIC
from runestone_sidecar.upstream.dialects.openai_translated import FITTED
from runestone_sidecar.upstream.surfaces import (
    completions_fields,
    messages_fields,
    responses_fields,
)
from runestone_testing import tables

if TYPE_CHECKING:
    from pathlib import Path

LINES = tables.FILE.read_text().splitlines()
TABLES = {
    "chat-to-anthropic": ANTHROPIC,
    "messages": messages_fields.FIELDS,
    "messages-blocks": messages_fields.BLOCKS,
    "responses": responses_fields.FIELDS,
    "responses-items": responses_fields.ITEMS,
}


def has(*texts: str) -> bool:
    """Whether one row holds all of these."""
    return any(line.startswith("| ") and all(text in line for text in texts) for line in LINES)


@pytest.mark.parametrize("name", TABLES)
def test_every_field_is_there(name: str) -> None:
    for field, row in TABLES[name].items():
        assert has(f"| `{field}` | {row.fate.value} | {row.reason}"), field


def test_every_setting_within_a_setting_is_there() -> None:
    for outer, table in (
        ("text", responses_fields.TEXT_FIELDS),
        ("reasoning", responses_fields.REASONING_FIELDS),
    ):
        for field, row in table.items():
            assert has(f"| `{outer}.{field}` | {row.fate.value} | {row.reason}"), field


def test_every_field_of_completions_is_there() -> None:
    for name, row in completions_fields.FIELDS.items():
        why = row.why if isinstance(row, completions_fields.Refused) else row.how
        assert has(f"| `{name}` |", why), name


def test_every_vendors_wish_is_there() -> None:
    for name, row in FITTED.items():
        assert has(f"| `{name}` |", row.how), name
        assert row.models is None or has(row.how, tables.escaped(row.models.pattern)), name


def test_every_pair_is_there() -> None:
    for path in tables.APIS:
        for name in DIALECTS:
            assert has(path, f"| {name} |"), (path, name)
    # Of those that a capability decides
    assert has("/v1/responses", "OpenAI", "`Responses`", "`Chat` or nothing")
    assert has("/v1/completions", "OpenAI", "`Completions` or nothing", "`Chat`")
    assert has("/v1/embeddings", "`Embeddings`", "Anthropic", "not possible")
    assert has("/v1/messages/count_tokens", "`Chat`", "OpenAI", "no | no, but our estimate")


def test_every_error_setting_and_metric_is_there() -> None:
    assert all(has(row.title, row.sign.value, row.pause.value) for row in rows())
    variables: list[Text | Number] = [*TEXTS.values(), *NUMBERS.values()]
    for each in variables:
        assert has(f"| `{each.variable}` |", each.text), each.variable
    for name, _, labels, meaning in tables.metrics():
        assert has(name, labels, meaning), name


def test_a_stale_file_is_noticed_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "TABLES.md"
    monkeypatch.setattr(tables, "FILE", file)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    assert tables.main(["--check"]) == 1
    assert tables.main([]) == 0
    assert tables.main(["--check"]) == 0
    file.write_text(file.read_text().replace("| `seed` | dropped |", "| `seed` | carried |"))
    capsys.readouterr()
    assert tables.main(["--check"]) == 1
    assert "-| `seed` | carried |" in capsys.readouterr().out
    assert tables.main(["--what"]) == 2
