"""Good and bad documents, read offline and by the real API server: both must say the same.

A bad document starts with `# expect:`, a part of what both say; where the API server has words of
its own for a breach of structure, `# server:` holds a part of those.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from runestone_operator.api.crd import KINDS
from runestone_operator.api.load import Rejected, parse
from runestone_operator.api.model import ApiModel
from runestone_operator.api.resource import API_VERSION, GROUP, NAME_RULE, Resource
from runestone_operator.api.schema import Schema, structural_schema
from runestone_testing.custom_resources import PLURALS, CustomResources

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BAD = sorted((HERE / "bad").glob("*.yaml"))
GOOD = sorted((HERE / "good").glob("*.yaml"))
SPECS: tuple[type[ApiModel], ...] = tuple(kind.spec for kind in KINDS)


@dataclass(frozen=True, slots=True)
class Expectation:
    offline: str
    server: str


def expectation(path: Path) -> Expectation:
    first, second = path.read_text().splitlines()[:2]
    assert first.startswith("# expect: "), f"{path.name} does not say what to expect"
    words = first.removeprefix("# expect: ")
    in_servers_words = second.startswith("# server: ")
    return Expectation(words, second.removeprefix("# server: ") if in_servers_words else words)


def load(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    return document


def parsed(document: dict[str, Any]) -> Resource:
    resource = parse(document)
    assert not isinstance(resource, Rejected), [str(error) for error in resource.errors]
    return resource


def good_documents() -> dict[str, dict[str, Any]]:
    found = {path.stem: load(path) for path in GOOD}
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["apiVersion"] == API_VERSION:
                found[f"example-{document['kind']}-{document['metadata']['name']}"] = document
    return found


GOOD_DOCUMENTS = good_documents()


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_document_is_refused_offline(path: Path) -> None:
    refused = parse(load(path))
    assert isinstance(refused, Rejected)
    (error,) = refused.errors
    assert expectation(path).offline in str(error)


@pytest.mark.kube
@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_document_is_refused_by_the_api_server(path: Path, api: CustomResources) -> None:
    status, answer = api.try_create(load(path))
    assert status in {400, 422}, answer
    assert expectation(path).server in answer["message"]


@pytest.mark.kube
@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_both_blame_the_same_field(path: Path, api: CustomResources) -> None:
    refused = parse(load(path))
    assert isinstance(refused, Rejected)
    _, answer = api.try_create(load(path))
    # "<nil>" stands for the whole object, and for checks that were left out.
    blamed = {cause["field"] for cause in answer.get("details", {}).get("causes", ())} - {"<nil>"}
    if not blamed:  # an unknown field, or a rule of the whole object, is named in the message
        assert refused.errors[0].path in answer["message"]
    for field in blamed:
        # A bad key of a map is blamed on the map; inside a map of scalars a key is [key] or .key.
        assert _plain(refused.errors[0].path).startswith(_plain(field))


def _plain(path: str) -> str:
    return path.replace("[", ".").replace("]", "")


@pytest.mark.parametrize("name", GOOD_DOCUMENTS)
def test_good_document_is_accepted_offline(name: str) -> None:
    parsed(GOOD_DOCUMENTS[name])


@pytest.mark.kube
@pytest.mark.parametrize("name", GOOD_DOCUMENTS)
def test_good_document_keeps_its_meaning_on_the_api_server(name: str, api: CustomResources) -> None:
    document = GOOD_DOCUMENTS[name]
    status, stored = api.try_create(document)
    assert status == 201, stored["message"]
    assert parsed(stored).spec == parsed(document).spec


@pytest.mark.kube
@pytest.mark.parametrize("name", GOOD_DOCUMENTS)
def test_api_server_fills_in_the_defaults_of_the_models(name: str, api: CustomResources) -> None:
    document = GOOD_DOCUMENTS[name]
    _, stored = api.try_create(document)
    ours = parsed(document).spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert _without_empty(stored["spec"]) == _without_empty(ours)


def _without_empty(value: Any) -> Any:
    """An empty list or map is as good as none: the models have it as a default, the CRDs not."""
    if isinstance(value, dict):
        kept = {key: _without_empty(item) for key, item in value.items() if key != "settings"}
        settings = {key: item for key, item in value.items() if key == "settings" and item}
        return {key: item for key, item in kept.items() if item not in ({}, [])} | settings
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value


def test_every_rule_has_a_bad_document() -> None:
    expected = [expectation(path).offline for path in BAD]
    messages = {NAME_RULE.message, *_messages([structural_schema(spec) for spec in SPECS])}
    untested = {m for m in messages if not any(words in m or m in words for words in expected)}
    assert untested == set()


def _messages(schemas: list[Schema]) -> Iterator[str]:
    for schema in schemas:
        for rule in schema.get("x-kubernetes-validations", ()):
            yield rule["message"]
        children = [*schema.get("properties", {}).values()]
        children += [schema[key] for key in ("items", "additionalProperties") if key in schema]
        yield from _messages(children)


def test_good_documents_set_every_field() -> None:
    for kind in KINDS:
        specs = [d["spec"] for d in GOOD_DOCUMENTS.values() if d["kind"] == kind.name]
        assert _unset(structural_schema(kind.spec), specs, f"{kind.name}.spec") == []


def _unset(schema: Schema, values: list[Any], at: str) -> list[str]:
    """Paths of fields that no value sets; lists are looked into, all items together."""
    values = [value for value in values if value is not None]
    if not values:
        return [at]
    missing = []
    for name, child in schema.get("properties", {}).items():
        given = [value[name] for value in values if name in value]
        missing += _unset(child, given, f"{at}.{name}")
    if "items" in schema:
        items = [item for value in values for item in value]
        missing += _unset(schema["items"], items, f"{at}[]")
    return missing


def test_examples_hold_all_kinds() -> None:
    kinds = {document["kind"] for document in GOOD_DOCUMENTS.values()}
    assert kinds == set(PLURALS)
    assert all(document["apiVersion"].startswith(GROUP) for document in GOOD_DOCUMENTS.values())
