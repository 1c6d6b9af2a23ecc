"""What the documents of some files amount to, and where each mistake is."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from runestone_operator.cli.source.files import FileSource
from runestone_operator.cli.source.world import Ref, World, build_world, named_namespaces

if TYPE_CHECKING:
    from pathlib import Path

KEY = """\
apiVersion: runestone.dev/v1alpha1
kind: ApiKey
metadata: {{name: {name}{namespace}}}
spec: {{tenant: shop}}
"""


def key(name: str, namespace: str = "") -> str:
    return KEY.format(name=name, namespace=f", namespace: {namespace}" if namespace else "")


def world_of(tmp_path: Path, text: str, home: str = "default") -> World:
    (tmp_path / "a.yaml").write_text(textwrap.dedent(text))
    return build_world(FileSource([str(tmp_path)]).read(), home)


def problems_of(world: World) -> list[str]:
    return [str(problem).rpartition("/a.yaml:")[2] for problem in world.problems]


def test_what_names_no_namespace_is_at_home(tmp_path: Path) -> None:
    world = world_of(tmp_path, f"{key('one')}---\n{key('two', 'other')}", home="shop")

    assert list(world.resources) == [Ref("ApiKey", "shop", "one"), Ref("ApiKey", "other", "two")]


def test_only_what_runestone_uses_names_a_namespace(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        f"{key('one', 'shop')}---\n{{apiVersion: v1, kind: Pod, metadata: {{namespace: other}}}}"
    )

    assert named_namespaces(FileSource([str(tmp_path)]).read()) == {"shop"}


def test_a_list_is_its_items(tmp_path: Path) -> None:
    text = """\
        apiVersion: v1
        kind: List
        items:
        - {apiVersion: runestone.dev/v1alpha1, kind: ApiKey, metadata: {name: a}, spec: {tenant: t}}
        - {apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: v}}
        - apiVersion: runestone.dev/v1alpha1
          kind: ApiKey
          metadata: {name: b}
          spec: {}
        """
    world = world_of(tmp_path, text)

    assert world.secrets == {("default", "s"): {"k": b"v"}}
    assert problems_of(world) == ["9: ApiKey/b: spec.tenant: is required"]
    assert world.count == 2


def test_other_kinds_are_skipped_and_said(tmp_path: Path) -> None:
    world = world_of(tmp_path, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\n")

    (skipped,) = world.skipped
    assert (skipped.kind, skipped.place.line) == ("Deployment", 1)
    assert world.problems == []


def test_labels_of_namespaces_are_kept(tmp_path: Path) -> None:
    text = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: research}}}"

    assert world_of(tmp_path, text).labels == {"shop": {"team": "research"}}


def test_every_mistake_has_its_line_resource_and_field(tmp_path: Path) -> None:
    text = """\
        apiVersion: runestone.dev/v1alpha1
        kind: ApiKey
        metadata: {name: app}
        spec:
          tenant: shop
          limits:
            requestsPerMinutes: 5
            concurrentRequests: many
        ---
        apiVersion: runestone.dev/v1beta7
        kind: ProviderPool
        metadata: {name: pool}
        spec: {}
        ---
        apiVersion: runestone.dev/v1alpha1
        kind: ProviderPol
        metadata: {name: pool}
        spec: {}
        ---
        - a list
        ---
        spec: {}
        ---
        apiVersion: v1
        kind: Secret
        metadata: {}
        """
    assert problems_of(world_of(tmp_path, text)) == [
        "8: ApiKey/app: spec.limits.concurrentRequests: must be a whole number, without quotes",
        "7: ApiKey/app: spec.limits.requestsPerMinutes: unknown field"
        " (did you mean requestsPerMinute?)",
        "10: ProviderPool/pool: apiVersion: must be runestone.dev/v1alpha1",
        "16: ProviderPol/pool: kind: must be one of ProviderPool, ApiKey, RoutingPolicy",
        "20: is no resource: a map with apiVersion, kind and metadata is expected",
        "22: is no resource: kind is missing",
        "26: Secret/?: metadata.name: is required",
    ]


def test_a_name_may_be_given_once(tmp_path: Path) -> None:
    world = world_of(tmp_path, f"{key('one')}---\n{key('one')}---\n{key('one', 'other')}")

    (problem,) = world.problems
    assert (problem.place.line, problem.path) == (8, "metadata.name")
    assert problem.message == f"is defined already, at {tmp_path}/a.yaml:1"
    assert world.count == 3
