"""What the compiler says about a resource: one verdict for each condition that it decides.

A verdict becomes a condition of the resource's status; it carries names, never a Secret's content.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from runestone_operator.api.problems import FieldError

# What becomes of a resource that is not whole.
KEPT: Final = "the last good version is kept"
LEFT_OUT: Final = "what does not resolve is left out"

_SHOWN: Final = 10  # a condition's message is for reading; the API server takes 32 KiB at most


class Kind(StrEnum):
    PROVIDER_POOL = "ProviderPool"
    API_KEY = "ApiKey"
    ROUTING_POLICY = "RoutingPolicy"


class ConditionType(StrEnum):
    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    CONFLICTED = "Conflicted"


class Reason(StrEnum):
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    RESOLVED = "ResolvedRefs"
    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_RESERVED = "SecretReserved"
    SECRET_KEY_NOT_FOUND = "SecretKeyNotFound"
    SECRET_NOT_OWNED = "SecretNotOwned"
    SECRET_VALUE_EMPTY = "SecretValueEmpty"
    INVALID_CREDENTIAL = "InvalidCredential"
    INVALID_KEY_FORMAT = "InvalidKeyFormat"
    INVALID_WEBHOOK_SECRET = "InvalidWebhookSecret"
    KEY_IS_CREDENTIAL = "KeyIsCredential"
    POLICY_NOT_FOUND = "PolicyNotFound"
    POOL_NOT_FOUND = "PoolNotFound"
    AMBIGUOUS_POOL = "AmbiguousPool"
    PROVIDER_NOT_FOUND = "ProviderNotFound"
    MODEL_NOT_FOUND = "ModelNotFound"
    UNKNOWN_MODEL = "UnknownModel"
    API_KEY_NOT_FOUND = "ApiKeyNotFound"
    DUPLICATE_KEY = "DuplicateKey"
    DUPLICATE_SERVICE_ACCOUNT = "DuplicateServiceAccount"
    DUPLICATE_DEFAULT = "DuplicateDefault"


@dataclass(frozen=True, slots=True)
class ResourceRef:
    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; the first of a condition's problems gives it its reason."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    resource: ResourceRef
    type: ConditionType
    status: bool
    reason: Reason
    message: str
    said: tuple[str, ...] = ()  # each thing the message says of the resource, all of them


def accepted(resource: ResourceRef, notes: Sequence[str]) -> Verdict:
    """The specification makes sense; `notes` say what of it does not do what one may expect."""
    said = tuple(note for note in notes if note)
    message = _joined("the spec is valid", *_bounded(said))
    return Verdict(resource, ConditionType.ACCEPTED, True, Reason.ACCEPTED, message, said)


def refused(
    resource: ResourceRef, errors: Sequence[FieldError], remark: str
) -> tuple[Verdict, Verdict]:
    message = _joined(*_bounded([str(error) for error in errors]), remark)
    unread = "the spec is not valid, so its references were not looked at"
    return (
        Verdict(resource, ConditionType.ACCEPTED, False, Reason.INVALID_SPEC, message),
        Verdict(resource, ConditionType.RESOLVED_REFS, False, Reason.INVALID_SPEC, unread),
    )


def references(resource: ResourceRef, problems: Sequence[Problem], remark: str = "") -> Verdict:
    """`remark` says what becomes of a resource whose references do not all resolve."""
    if not problems:
        message = "every reference is found and allowed"
        return Verdict(resource, ConditionType.RESOLVED_REFS, True, Reason.RESOLVED, message)
    said = tuple(problem.message for problem in problems)
    message = _joined(*_bounded(said), remark)
    return Verdict(resource, ConditionType.RESOLVED_REFS, False, problems[0].reason, message, said)


def conflicted(resource: ResourceRef, problems: Sequence[Problem]) -> Verdict:
    said = tuple(problem.message for problem in problems)
    message = _joined(*_bounded(said))
    return Verdict(resource, ConditionType.CONFLICTED, True, problems[0].reason, message, said)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _bounded(parts: Sequence[str]) -> list[str]:
    if len(parts) <= _SHOWN:
        return list(parts)
    return [*parts[: _SHOWN - 1], f"and {len(parts) - _SHOWN + 1} more"]


def listed(names: Iterable[str]) -> str:
    """Names for a message: bounded, in the order given."""
    return ", ".join(_bounded(list(names)))
