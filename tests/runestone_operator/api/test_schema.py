"""The generated schemas are structural, bounded, described; and hack/gen-crds shows any drift."""

import importlib.machinery
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import yaml
from pydantic import Field

from runestone_operator.api.crd import GENERATED, KINDS, Kind, crd_document, render_crd
from runestone_operator.api.model import ApiModel, Keeps
from runestone_operator.api.names import HeaderName, ItemName
from runestone_operator.api.rules import Rule, rule
from runestone_operator.api.schema import Schema, structural_schema

ROOT = Path(__file__).parents[3]
ALL_SCHEMAS = {
    f"{kind.name}.{part}": structural_schema(model)
    for kind in KINDS
    for part, model in (("spec", kind.spec), ("status", kind.status))
}


def nodes(schema: Schema, at: str) -> Iterator[tuple[str, Schema]]:
    yield at, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{at}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{at}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{at}{{}}")


NODES = [node for at, schema in ALL_SCHEMAS.items() for node in nodes(schema, at)]


def test_every_node_has_one_type() -> None:
    types = {"object", "array", "string", "integer", "boolean"}
    assert [at for at, node in NODES if node.get("type") not in types] == []


def test_nothing_is_left_of_pydantic() -> None:
    foreign = {"$ref", "$defs", "anyOf", "allOf", "oneOf", "title", "const", "propertyNames"}
    assert [at for at, node in NODES if foreign & node.keys()] == []


def test_every_field_is_described() -> None:
    assert [
        f"{at}.{name}"
        for at, node in NODES
        for name, child in node.get("properties", {}).items()
        if not child.get("description", "").endswith(".")
    ] == []


def test_everything_is_bounded() -> None:
    assert [at for at, node in NODES if not _is_bounded(node)] == []


def _is_bounded(node: Schema) -> bool:
    match node["type"]:
        case "string":
            return "maxLength" in node or "enum" in node
        case "array":
            return "maxItems" in node
        case "integer":
            return "minimum" in node and "maximum" in node
        case "object":
            return "properties" in node or "maxProperties" in node
    return True


def test_lists_of_named_things_are_maps() -> None:
    keyed = {
        at: node["x-kubernetes-list-map-keys"]
        for at, node in NODES
        if node.get("x-kubernetes-list-type") == "map"
    }
    assert keyed == {
        "ProviderPool.spec.providers": ["name"],
        "ProviderPool.spec.providers[].models": ["name"],
        "RoutingPolicy.spec.rules": ["name"],
    } | {f"{kind.name}.status.conditions": ["type"] for kind in KINDS}


def test_defaults_are_those_of_the_models() -> None:
    spec = ALL_SCHEMAS["ProviderPool.spec"]["properties"]
    assert spec["strategy"]["default"] == "Priority"
    assert spec["sharing"]["default"] == {"namespaces": "Same"}
    provider = spec["providers"]["items"]["properties"]
    assert provider["priority"]["default"] == 0
    assert provider["timeouts"]["default"] == {"total": "600s"}
    assert "default" not in provider["credentials"]
    assert "default" not in provider["tls"]
    assert ALL_SCHEMAS["RoutingPolicy.spec"]["properties"]["default"]["default"] is False


class Inner(ApiModel):
    """Inside."""

    low: int = 1
    """The lower."""
    high: int = 2
    """The higher."""

    @rule("self.low <= self.high", "low must not exceed high", at="low")
    def ordered(self) -> bool:
        return self.low <= self.high


class Derived(Inner):
    """Inherits a rule and has one of its own."""

    @rule("self.low > 0", "low must be positive")
    def positive(self) -> bool:
        return self.low > 0


class Outer(ApiModel):
    """Outside."""

    first: Inner
    """Here  described
    on two lines."""
    second: Inner | None = None
    derived: Derived = Derived()
    """Derived."""
    named: Annotated[
        dict[HeaderName, ItemName],
        Field(max_length=3),
        Keeps((Rule("size(self) != 1", "not one", lambda value: len(value) != 1),)),
        Keeps((Rule("size(self) != 2", "not two", lambda value: len(value) != 2),)),
    ]
    """Map."""


ORDERED = {
    "rule": "self.low <= self.high",
    "message": "low must not exceed high",
    "fieldPath": ".low",
}


def test_what_a_reference_points_at_takes_its_place() -> None:
    properties = structural_schema(Outer)["properties"]
    assert properties["first"]["description"] == "Here described on two lines."
    assert properties["second"]["description"] == "Inside."
    assert properties["first"]["properties"] == properties["second"]["properties"]
    assert properties["second"]["x-kubernetes-validations"] == [ORDERED]
    assert structural_schema(Outer)["required"] == ["first", "named"]


def test_rules_are_inherited() -> None:
    rules = structural_schema(Outer)["properties"]["derived"]["x-kubernetes-validations"]
    assert rules == [ORDERED, {"rule": "self.low > 0", "message": "low must be positive"}]


def test_rules_of_a_map_and_of_its_keys_all_stand() -> None:
    named = structural_schema(Outer)["properties"]["named"]
    messages = [entry["message"] for entry in named["x-kubernetes-validations"]]
    assert messages[:3] == ["not one", "not two", "keys may not be more than 64 characters"]
    assert messages[3].startswith("header names must be")
    assert named["x-kubernetes-validations"][3]["rule"].startswith("self.all(key, key.matches(")
    assert named["additionalProperties"]["maxLength"] == 63


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_committed_crds_are_the_generated_ones(kind: Kind) -> None:
    text = (ROOT / "crds" / kind.file_name).read_text()
    assert text == render_crd(kind)
    assert text.startswith(GENERATED)
    assert yaml.safe_load(text) == crd_document(kind)
    assert "&id" not in text


@pytest.fixture
def gen_crds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """hack/gen-crds, working on a folder of its own."""
    loader = importlib.machinery.SourceFileLoader("gen_crds", str(ROOT / "hack" / "gen-crds"))
    module = importlib.util.module_from_spec(
        importlib.machinery.ModuleSpec("gen_crds", loader, origin=loader.path)
    )
    module.__file__ = loader.path
    loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "FOLDER", tmp_path / "crds")
    return module


def test_gen_crds_writes_what_check_accepts(gen_crds: ModuleType, tmp_path: Path) -> None:
    assert gen_crds.main(["--check"]) == 1
    assert gen_crds.main([]) == 0
    assert {path.name for path in (tmp_path / "crds").iterdir()} == {k.file_name for k in KINDS}
    assert gen_crds.main(["--check"]) == 0


def test_gen_crds_shows_the_difference(
    gen_crds: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gen_crds.main([])
    changed = tmp_path / "crds" / KINDS[0].file_name
    changed.write_text(changed.read_text().replace("maximum: 1000\n", "maximum: 2000\n", 1))
    (tmp_path / "crds" / "stray.yaml").write_text("{}")
    capsys.readouterr()
    assert gen_crds.main(["--check"]) == 1
    shown = capsys.readouterr().out
    assert "maximum: 2000\n+" in shown
    assert "nothing generates crds/stray.yaml" in shown
    assert gen_crds.main([]) == 0
    assert not (tmp_path / "crds" / "stray.yaml").exists()
    assert gen_crds.main(["--check"]) == 0


def test_gen_crds_takes_no_other_word(gen_crds: ModuleType, tmp_path: Path) -> None:
    assert gen_crds.main(["--chekc"]) == 2
    assert not (tmp_path / "crds").exists()
