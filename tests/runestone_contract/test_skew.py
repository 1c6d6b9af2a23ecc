"""H12: operator and sidecars of different versions, in either order, within a major version.

`data/wire-1.json` holds every field that a version of the major 1 ever had, with its default: a
reader that does not find a field takes the default that its writer left out. `data/bundle-1.0` is a
bundle as the first operators wrote it, `data/required-1.0.json` what had to be there then.
`REFRESH_GOLDEN=1` adds new fields to the first, and never changes or removes one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from runestone_contract import bundle, config

DATA = Path(__file__).parent / "data"
WIRE = DATA / "wire-1.json"
REQUIRED = "(required)"
MODELS = {
    name: model
    for name, model in vars(config).items()
    if isinstance(model, type) and issubclass(model, config.Wire) and model is not config.Wire
}


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    fields = {}
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = default.model_dump(mode="json") if isinstance(default, BaseModel) else default
        fields[name] = REQUIRED if field.is_required() else json.loads(json.dumps(shown))
    return fields


def known_fields() -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = json.loads(WIRE.read_text()) if WIRE.exists() else {}
    if os.environ.get("REFRESH_GOLDEN") == "1":
        for name, model in MODELS.items():
            known[name] = fields_of(model) | known.get(name, {})
        WIRE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    return known


def files_of(name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (DATA / name).iterdir()}


@pytest.mark.parametrize("name", MODELS)
def test_H12_a_field_keeps_its_default_for_ever(name: str) -> None:
    known = known_fields()
    now = fields_of(MODELS[name])
    for field, default in known.get(name, {}).items():
        assert _comparable(now[field]) == _comparable(default), field


def _comparable(default: Any) -> Any:
    """Of a default that is a model its own fields are looked at where it stands."""
    return "a model" if isinstance(default, dict) and default else default


@pytest.mark.parametrize("name", MODELS)
def test_H12_what_is_new_can_be_left_out(name: str) -> None:
    first = json.loads((DATA / "required-1.0.json").read_text())
    required = {field for field, default in fields_of(MODELS[name]).items() if default == REQUIRED}
    assert required <= set(first.get(name, required))


def test_H12_a_bundle_of_the_first_version_is_read() -> None:
    found = bundle.decode(files_of("bundle-1.0"))

    assert found.namespace == "shop"
    assert [pool.id for pool in found.pools] == ["shop/pool"]
    assert [key.id for key in found.keys] == ["shop/limited", "shop/plain"]
    assert found.keys[0].limits.requests_per_minute == 600
    assert found.pools[0].providers[0].timeouts.connect_ms == 5_000
    assert bundle.encode(found).files() == files_of("bundle-1.0")


def strewn(value: Any) -> Any:
    """With a field that nobody knows in every object that is a model, and none in maps of names."""
    if isinstance(value, list):
        return [strewn(item) for item in value]
    if not isinstance(value, dict):
        return value
    inside = {name: item if name == "aliases" else strewn(item) for name, item in value.items()}
    return inside | {"novelty": {"of": ["a", "newer", "version"]}}


def test_H12_fields_of_a_newer_operator_are_ignored_wherever_they_are() -> None:
    _, lines = bundle.lines_of(files_of("bundle-1.0"))
    assert len(lines) >= 4
    for line in lines:
        newer = json.dumps(strewn(json.loads(line))).encode()
        assert newer.count(b"novelty") >= 2
        assert bundle.decode_record(newer) == bundle.decode_record(line)
