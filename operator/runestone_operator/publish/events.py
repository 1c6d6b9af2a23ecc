"""Kubernetes Events for transitions of conditions: what `kubectl describe` shows.

An Event's name follows from the transition, so that one transition makes one Event, whoever tells
it and however often. It repeats a condition's message, which holds no secret.
"""

import hashlib
import logging
from typing import Any

from runestone_contract.names import GROUP, MANAGED_BY
from runestone_operator.api.resource import API_VERSION
from runestone_operator.api.status import Condition
from runestone_operator.collect.views import ResourceView
from runestone_operator.errors import ConflictError, KubeError
from runestone_operator.kinds import EVENT
from runestone_operator.publish.kube import Kube
from runestone_operator.publish.status import is_bad_news

log = logging.getLogger(__name__)

NOTE_LIMIT = 1000
CONTROLLER = f"{GROUP}/{MANAGED_BY}"


async def post_event(kube: Kube, view: ResourceView, condition: Condition) -> None:
    """An Event that cannot be posted is a pity, and no reason to do anything again."""
    try:
        await kube.create(EVENT, build_event(view, condition))
    except ConflictError:
        return
    except KubeError as error:
        log.warning("event not posted", extra={"namespace": view.namespace, "error": str(error)})


def build_event(view: ResourceView, condition: Condition) -> dict[str, Any]:
    identity = "/".join(
        [view.uid, condition.type, condition.status, condition.last_transition_time]
    )
    suffix = hashlib.sha256(identity.encode()).hexdigest()[:16]
    time = str(condition.last_transition_time).replace("Z", ".000000Z")
    return {
        "metadata": {"namespace": view.namespace, "name": f"{view.name}.{suffix}"},
        "eventTime": time,
        "reportingController": CONTROLLER,
        "reportingInstance": MANAGED_BY,
        "action": condition.type,
        "reason": condition.reason,
        "type": "Warning" if is_bad_news(condition) else "Normal",
        "note": f"{condition.type}={condition.status}: {condition.message}"[:NOTE_LIMIT],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": view.kind.name,
            "namespace": view.namespace,
            "name": view.name,
            "uid": view.uid,
        },
    }
