"""Kubernetes Events for transitions of conditions and for what people have to do: what `kubectl
describe` shows.

An Event's name follows from what it tells, so that one thing makes one Event, whoever tells it and
however often. It repeats a condition's message or names objects, and holds no secret.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from runestone_contract.names import GROUP, MANAGED_BY
from runestone_operator.api.scalars import Timestamp
from runestone_operator.api.status import Condition
from runestone_operator.collect.views import View
from runestone_operator.errors import ConflictError, KubeError, NotLeadingError
from runestone_operator.kinds import EVENT
from runestone_operator.publish.kube import Kube
from runestone_operator.publish.status import is_bad_news

log = logging.getLogger(__name__)

NOTE_LIMIT = 1000
NAME_LIMIT = 230  # of what it is about, so that all is a name
CONTROLLER = f"{GROUP}/{MANAGED_BY}"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell of an object, once."""

    identity: tuple[str, ...]  # beside the object's: the same is not told again
    at: Timestamp
    action: str
    reason: str
    note: str
    is_warning: bool = False


async def post_event(kube: Kube, view: View, notice: Notice) -> None:
    """An Event that cannot be posted is a pity, and no reason to do anything again."""
    try:
        await kube.create(EVENT, build_event(view, notice))
    except ConflictError:
        return
    except (KubeError, NotLeadingError) as error:
        log.warning("event not posted", extra={"namespace": view.namespace, "error": str(error)})


def notice_of(condition: Condition) -> Notice:
    return Notice(
        identity=(condition.type, condition.status, condition.last_transition_time),
        at=condition.last_transition_time,
        action=condition.type,
        reason=condition.reason,
        note=f"{condition.type}={condition.status}: {condition.message}",
        is_warning=is_bad_news(condition),
    )


def build_event(view: View, notice: Notice) -> dict[str, Any]:
    identity = "/".join([view.uid, *notice.identity])
    suffix = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return {
        "metadata": {"namespace": view.namespace, "name": f"{view.name[:NAME_LIMIT]}.{suffix}"},
        "eventTime": str(notice.at).replace("Z", ".000000Z"),
        "reportingController": CONTROLLER,
        "reportingInstance": MANAGED_BY,
        "action": notice.action,
        "reason": notice.reason,
        "type": "Warning" if notice.is_warning else "Normal",
        "note": notice.note[:NOTE_LIMIT],
        "regarding": {
            "apiVersion": view.kind.api_version,
            "kind": view.kind.name,
            "namespace": view.namespace,
            "name": view.name,
            "uid": view.uid,
        },
    }
