"""Each file of golden/ holds resources, then what they compile to: records, entries, conditions.

`REFRESH_GOLDEN=1` writes the second half anew; the change is for the reviewer to read. Beside the
three kinds, a file may hold Secrets, the Namespace that is compiled (else shop), a document
`files:` with further files of the project, one `previous:` with the records in force, one
`displaced:` with the names of ApiKeys for whose key there is no place, and one `beside:` with what
ApiKeys let in beside their generated key.
"""

import base64
import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runestone_contract import bundle
from runestone_contract.canonical import canonical
from runestone_contract.config import KeyHash
from runestone_operator.api.load import Rejected, parse
from runestone_operator.api.resource import ApiKey, ProviderPool, RoutingPolicy
from runestone_operator.compiler.compile import Compiled, compile_namespace
from runestone_operator.compiler.inputs import Inputs, SecretFacts, fact_of

ROOT = Path(__file__).parents[3]
CASES = sorted((Path(__file__).parent / "golden").glob("*.yaml"))
MARK = "---\n# What it compiles to.\n"


def documents_of(text: str) -> Iterator[dict[str, Any]]:
    for document in yaml.safe_load_all(text):
        for name in document.get("files", ()):
            yield from documents_of((ROOT / name).read_text())
        if "files" not in document:
            yield document


def values_of(secret: dict[str, Any]) -> dict[str, bytes]:
    values = {name: str(text).encode() for name, text in secret.get("stringData", {}).items()}
    return values | {name: base64.b64decode(text) for name, text in secret.get("data", {}).items()}


def inputs_of(documents: list[dict[str, Any]]) -> Inputs:
    namespace, labels = "shop", {}
    secrets: dict[tuple[str, str], SecretFacts] = {}
    previous: dict[str, bytes] = {}
    displaced: frozenset[str] = frozenset()
    beside: dict[str, tuple[KeyHash, ...]] = {}
    parsed: list[ProviderPool | ApiKey | RoutingPolicy | Rejected] = []
    for document in documents:
        meta = document.get("metadata", {})
        if "previous" in document:
            previous = {f"{r['kind']} {r['id']}": canonical(r) for r in document["previous"]}
        elif "displaced" in document:
            displaced = frozenset(document["displaced"])
        elif "beside" in document:
            beside = {
                name: tuple(KeyHash.model_validate(item) for item in items)
                for name, items in document["beside"].items()
            }
        elif document["kind"] == "Namespace":
            namespace, labels = meta["name"], meta.get("labels", {})
        elif document["kind"] == "Secret":
            place = (meta.get("namespace", "shop"), meta["name"])
            secrets[place] = {key: fact_of(value) for key, value in values_of(document).items()}
        else:
            parsed.append(parse(document, namespace="shop"))
    return Inputs(
        namespace=namespace,
        namespace_labels=labels,
        pools=[item for item in parsed if isinstance(item, ProviderPool)],
        keys=[item for item in parsed if isinstance(item, ApiKey)],
        policies=[item for item in parsed if isinstance(item, RoutingPolicy)],
        secrets=secrets,
        unparsed=[item for item in parsed if isinstance(item, Rejected)],
        previous=previous,
        displaced_keys=displaced,
        beside=beside,
    )


def conditions_of(compiled: Compiled) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for verdict in compiled.verdicts:
        conditions = found.setdefault(f"{verdict.resource.kind} {verdict.resource.name}", {})
        assert verdict.type not in conditions, verdict
        conditions[verdict.type.value] = f"{verdict.status} {verdict.reason}. {verdict.message}"
    return found


def rendered(compiled: Compiled) -> str:
    records = {
        "config": [
            record.model_dump(mode="json", exclude_defaults=True) | {"kind": record.kind}
            for record in compiled.config.records()
        ]
    }
    said = {
        "credentials": {
            entry: f"{source.namespace}/{source.name}/{source.key}"
            for entry, source in compiled.credentials.items()
        },
        "conditions": conditions_of(compiled),
        "statuses": {
            f"{resource.kind} {resource.name}": status.model_dump(
                mode="json", exclude_defaults=True
            )
            for resource, status in compiled.statuses.items()
        },
    }
    dump = functools.partial(yaml.safe_dump, sort_keys=False, width=96, allow_unicode=True)
    return f"{dump(records, default_flow_style=None)}{dump(said)}"


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_compiles_to_what_is_written_down(case: Path) -> None:
    given, _, expected = case.read_text().partition(MARK)
    compiled = compile_namespace(inputs_of(list(documents_of(given))))
    if os.environ.get("REFRESH_GOLDEN") == "1":
        case.write_text(given + MARK + rendered(compiled))
        return
    assert rendered(compiled) == expected


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_keeps_the_compilers_promises(case: Path) -> None:
    given = case.read_text().partition(MARK)[0]
    documents = list(documents_of(given))
    compiled = compile_namespace(inputs_of(documents))
    backwards = compile_namespace(inputs_of(documents[::-1]))
    assert backwards == compiled
    assert compiled.bundle is not None
    assert bundle.decode(compiled.bundle.files()).namespace == compiled.config.namespace
    said = rendered(compiled)
    for secret in (document for document in documents if document.get("kind") == "Secret"):
        for value in values_of(secret).values():
            assert not value.strip() or value.strip().decode() not in said


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_compiling_again_over_its_own_bundle_changes_nothing(case: Path) -> None:
    inputs = inputs_of(list(documents_of(case.read_text().partition(MARK)[0])))
    first = compile_namespace(inputs)
    assert first.bundle is not None
    in_force = bundle.lines_by_identity(first.bundle.files())
    assert compile_namespace(dataclasses.replace(inputs, previous=in_force)) == first
