"""Objects as the API server gives them, for tests without one."""

from __future__ import annotations

from typing import Any

from runestone_operator.collect.views import View, build_view
from runestone_operator.kinds import RESOURCES, WATCHED, Kind

Body = dict[str, Any]
KINDS = {kind.name: kind for kind in WATCHED}


def body(document: Body, *, version: int = 1, uid: str = "uid", generation: int = 1) -> Body:
    """A document of `resources.py` as it comes back."""
    kind = KINDS[document["kind"]]
    known = {"resourceVersion": str(version), "uid": uid}
    if kind in RESOURCES:
        known |= {"generation": generation}  # type: ignore[dict-item]
    return document | {
        "apiVersion": kind.api_version,
        "metadata": document["metadata"] | known,
    }


def view(document: Body, *, version: int = 1, uid: str = "uid", generation: int = 1) -> View:
    kind: Kind = KINDS[document["kind"]]
    return build_view(kind, body(document, version=version, uid=uid, generation=generation))


def namespace(name: str, **labels: str) -> Body:
    return {"kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def config_map(place: str, name: str, **data: str) -> Body:
    return {
        "kind": "ConfigMap",
        "metadata": {
            "namespace": place,
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "runestone-operator"},
        },
        "data": data,
    }
