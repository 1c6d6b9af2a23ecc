"""From a reference to a Secret to the entry of the managed Secret that carries its value.

An entry's name follows from where the value comes from, and from nothing in the value.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from runestone_contract.names import CREDENTIALS_SECRET, OVERFLOW_KEY_SECRET
from runestone_operator.api.refs import SecretKeyRef
from runestone_operator.compiler.inputs import Secrets, SecretSource, ValueFact
from runestone_operator.compiler.verdicts import Problem, Reason

CREDENTIAL: Final = "cred-"
AUTHORITY: Final = "ca-"
WEBHOOK: Final = "hook-"
# What other namespaces share with this one, and what its jobs are sealed with.
RESERVED: Final = frozenset({CREDENTIALS_SECRET, OVERFLOW_KEY_SECRET})


def entry_name(prefix: str, source: SecretSource) -> str:
    place = f"{source.namespace}/{source.name}/{source.key}".encode()
    return prefix + hashlib.sha256(place).hexdigest()[:20]


def find_value(secrets: Secrets, source: SecretSource, user: str) -> ValueFact | Problem:
    """The fact about a value that is there and not empty; `user` begins the sentence if not."""
    if source.name in RESERVED:
        message = f'{user}: Secret "{source.name}" is the operator\'s own, for no one to refer to'
        return Problem(Reason.SECRET_RESERVED, message)
    facts = secrets.get((source.namespace, source.name))
    if facts is None:
        message = f'{user}: Secret "{source.name}" is not found'
        return Problem(Reason.SECRET_NOT_FOUND, message)
    fact = facts.get(source.key)
    if fact is None:
        message = f'{user}: Secret "{source.name}" has no key "{source.key}"'
        return Problem(Reason.SECRET_KEY_NOT_FOUND, message)
    if not fact.size:
        message = f'{user}: key "{source.key}" of Secret "{source.name}" is empty'
        return Problem(Reason.SECRET_VALUE_EMPTY, message)
    return fact


def find_credential(secrets: Secrets, source: SecretSource, user: str) -> ValueFact | Problem:
    """As find_value, for a value that is sent in a header."""
    found = find_value(secrets, source, user)
    if isinstance(found, Problem) or found.header_safe:
        return found
    return Problem(
        Reason.INVALID_CREDENTIAL,
        f'{user}: key "{source.key}" of Secret "{source.name}" cannot be sent in a header:'
        " it holds spaces, line breaks or characters beyond ASCII",
    )


def find_webhook_secret(secrets: Secrets, source: SecretSource, user: str) -> ValueFact | Problem:
    """As find_value, for a value that webhooks are signed with."""
    found = find_value(secrets, source, user)
    if isinstance(found, Problem) or found.webhook_secret:
        return found
    return Problem(
        Reason.INVALID_WEBHOOK_SECRET,
        f'{user}: key "{source.key}" of Secret "{source.name}" does not hold one:'
        " whsec_ and 24 to 64 bytes in base64",
    )


def source_of(namespace: str, ref: SecretKeyRef) -> SecretSource:
    return SecretSource(namespace, ref.name, ref.key)


def sources_by_entry(
    secrets: Secrets, namespace: str, prefixes: Iterable[str]
) -> Mapping[str, SecretSource]:
    """Every entry name that a Secret of the namespace could stand behind."""
    return {
        entry_name(prefix, source): source
        for source in _filled_sources(secrets, namespace)
        for prefix in prefixes
    }


def _filled_sources(secrets: Secrets, namespace: str) -> Iterator[SecretSource]:
    for (owner, name), facts in secrets.items():
        if owner == namespace:
            yield from (SecretSource(owner, name, key) for key, fact in facts.items() if fact.size)
