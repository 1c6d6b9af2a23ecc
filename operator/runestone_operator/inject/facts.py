"""What has to be known of a pod's surroundings, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Pod = Mapping[str, Any]  # as the API server hands it over: valid, and with its defaults


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a client key is: an entry of a Secret in the pod's namespace."""

    secret: str
    entry: str
    is_known: bool = True  # False: there is no such ApiKey yet, and this is where it would be


@dataclass(frozen=True, slots=True)
class Facts:
    """Of the namespace, as far as they concern one pod."""

    asks: bool = False  # the namespace's label: all its pods, but those that say otherwise
    key: KeySource | None = None  # of the ApiKey that the pod is to act as
    account_has_key: bool = False  # an ApiKey lists the pod's service account


class Kind(StrEnum):
    INJECTED = "injected"
    UNCHANGED = "unchanged"  # it does not ask, or has all already
    SKIPPED = "skipped"  # its namespace asks, and it cannot be


@dataclass(frozen=True, slots=True)
class Admitted:
    kind: Kind
    pod: Pod  # as it is to be
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    reason: str


Outcome = Admitted | Refused


class UnfitError(Exception):
    """Why a pod can have no sidecar as it is; `inject` catches it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
