"""What an ApiKey lets in beside the key that is in its Secret: keys from before a rotation, and one
that is about to be written there.

The same rules hold for them as for the key itself: no provider's credential, and none that an older
ApiKey has.
"""

from collections.abc import Iterable, Iterator, Mapping

from runestone_contract.config import KeyHash
from runestone_operator.api.resource import ApiKey
from runestone_operator.compiler.inputs import Secrets, previous_key
from runestone_operator.compiler.verdicts import Problem, Reason


def hashes_beside(
    key: ApiKey, generated: Mapping[str, tuple[KeyHash, ...]], secrets: Secrets
) -> Iterator[KeyHash | Problem]:
    """As they are asked for; `generated` is what the operator has made of late."""
    source = previous_key(key)
    if source is None:
        yield from generated.get(key.meta.name, ())
        return
    fact = secrets.get((source.namespace, source.name), {}).get(source.key)
    if fact is None or not fact.size:
        return
    if fact.client_key:
        yield KeyHash(sha256=fact.sha256)
        return
    yield Problem(
        Reason.INVALID_KEY_FORMAT,
        f'the previous client key: key "{source.key}" of Secret "{source.name}" does not hold one:'
        " sk- and letters, digits, - and _, at least 24 characters in all",
    )


def allowed_beside(
    hashes: Iterable[KeyHash], own: str, credential_hashes: frozenset[str]
) -> Iterator[KeyHash | Problem]:
    """`own` is the hash of the key itself."""
    for each in hashes:
        if each.sha256 == own:
            continue
        if each.sha256 in credential_hashes:
            yield Problem(
                Reason.KEY_IS_CREDENTIAL,
                "a previous client key is a provider's credential, which no client may hold:"
                " it is not let in",
            )
        else:
            yield each
