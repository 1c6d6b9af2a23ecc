"""Everything the operator raises on purpose.

OperatorError
├── SettingsError           an environment variable cannot be used
├── WatchEndedError         Kopf gave up: a new start may help
├── StaleInputsError        something changed between compile and publish: compile again
├── NotLeadingError         another operator may write now, and this one may not
├── BadSeedError            what should be the seed of a NATS key is none
├── NatsError               the NATS server did not do it
│   ├── NatsAwayError       it cannot be reached, or does not answer
│   └── NatsRefusedError    it says no
└── KubeError               the API server refused or could not be reached
    ├── NotFoundError       404
    ├── ConflictError       409: it exists already, or another writer was faster
    ├── NamespaceGoneError  nothing can be created any more in a namespace that is being deleted
    ├── RefusedError        another 4xx: not allowed, over quota, not valid
    └── UnreachableError    no answer, 429 or 5xx: worth another try

An error holds what was asked and the API server's one-word reason, never its text: that may quote
what was sent, and what was sent may be a Secret.
"""

from typing import ClassVar, Final


class OperatorError(Exception):
    """The root; a subclass is always raised."""

    retry_within_s: ClassVar[float] = 10  # what failed is worth another try at least so often


class SettingsError(OperatorError):
    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable} {problem}")
        self.variable = variable
        self.problem = problem


class WatchEndedError(OperatorError):
    def __init__(self, cause: str) -> None:
        super().__init__(f"the watch ended by {cause}")
        self.cause = cause


class StaleInputsError(OperatorError):
    def __init__(self, what: str) -> None:
        super().__init__(f"{what} changed while it was being used")
        self.what = what


class NotLeadingError(OperatorError):
    def __init__(self, verb: str, what: str) -> None:
        super().__init__(f"{verb} {what}: not leading any more")
        self.verb = verb
        self.what = what


class BadSeedError(OperatorError):
    retry_within_s = 60  # someone has to put the right one back

    def __init__(self, role: str) -> None:
        super().__init__(f"not the seed of a NATS {role}")
        self.role = role


class NatsError(OperatorError):
    pass


class NatsAwayError(NatsError):
    def __init__(self, cause: str) -> None:
        super().__init__(f"NATS does not answer: {cause}")
        self.cause = cause


class NatsRefusedError(NatsError):
    retry_within_s = 60  # someone has to mend its configuration first

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"NATS refused to {what} ({code})")
        self.what = what
        self.code = code


class KubeError(OperatorError):
    def __init__(self, *, verb: str, what: str, status: int | None, reason: str) -> None:
        super().__init__(f"{verb} {what}: {reason}" + (f" ({status})" if status else ""))
        self.verb = verb
        self.what = what
        self.status = status
        self.reason = reason


class NotFoundError(KubeError):
    pass


class ConflictError(KubeError):
    pass


class NamespaceGoneError(KubeError):
    pass


class RefusedError(KubeError):
    retry_within_s = 60  # someone has to lift a quota or mend a policy first


class UnreachableError(KubeError):
    pass


_BY_STATUS: Final[dict[int, type[KubeError]]] = {
    404: NotFoundError,
    409: ConflictError,
    408: UnreachableError,
    429: UnreachableError,
}


def kube_error(
    *, verb: str, what: str, status: int, reason: str, causes: frozenset[str] = frozenset()
) -> KubeError:
    """The error for an answer of the API server that is no success."""
    if "NamespaceTerminating" in causes:
        kind: type[KubeError] = NamespaceGoneError
    else:
        kind = _BY_STATUS.get(status, UnreachableError if status >= 500 else RefusedError)
    return kind(verb=verb, what=what, status=status, reason=reason)
