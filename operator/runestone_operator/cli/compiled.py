"""One namespace of a World -> its configuration, the values that it needs, and every problem.

The compiler is the operator's own. Its verdicts become problems at the field they are about.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from runestone_contract.names import OVERFLOW_KEY_ENTRY
from runestone_operator.api.load import Rejected
from runestone_operator.api.pending import pending_fields, pending_note
from runestone_operator.api.problems import Location, path_of
from runestone_operator.api.refs import SecretKeyRef
from runestone_operator.api.resource import ApiKey, ProviderPool, RoutingPolicy
from runestone_operator.cli.failure import USAGE, CommandError
from runestone_operator.cli.report import Place, Problem, Severity
from runestone_operator.cli.source.locate import locate
from runestone_operator.cli.source.world import DEFAULT_NAMESPACE, Found, Ref, World
from runestone_operator.compiler.compile import Compiled, compile_namespace
from runestone_operator.compiler.inputs import (
    GENERATED_KEY_ENTRY,
    GENERATED_KEY_SUFFIX,
    Inputs,
    ValueFact,
    fact_of,
    further_secrets,
    key_secret,
)
from runestone_operator.compiler.verdicts import ConditionType, Verdict

KEY_PREFIX: Final = "sk-rs-"
KEY_LENGTH: Final = 43
BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

Kind = TypeVar("Kind", ProviderPool, ApiKey, RoutingPolicy)
Values = Mapping[tuple[str, str], Mapping[str, bytes]]


class Keyring(Protocol):
    """Where the client keys come from that nobody brought."""

    def key(self, namespace: str, name: str) -> str: ...

    def overflow_key(self, namespace: str) -> str:
        """What the namespace's jobs are sealed with."""


class StandIns:
    """Keys in the right form that open nothing: for commands that only look."""

    def key(self, namespace: str, name: str) -> str:
        seed = hashlib.sha512(f"{namespace}/{name}".encode()).digest()
        return KEY_PREFIX + "".join(BASE62[byte % 62] for byte in seed[:KEY_LENGTH])

    def overflow_key(self, namespace: str) -> str:
        return base64.b64encode(hashlib.sha256(namespace.encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class ClientKey:
    """An ApiKey that lets somebody in, and how."""

    name: str
    value: str
    is_generated: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Build:
    namespace: str
    compiled: Compiled
    config_files: Mapping[str, bytes]
    credential_files: Mapping[str, bytes]
    problems: tuple[Problem, ...]  # of the references: what single documents cannot tell
    client_keys: tuple[ClientKey, ...]

    @property
    def digest(self) -> str:
        return self.compiled.bundle.digest if self.compiled.bundle else ""


def choose_namespace(named: Iterable[str], wanted: str | None) -> str:
    """Raises CommandError where the files leave it open."""
    found = sorted(set(named))
    if wanted is not None:
        return wanted
    if len(found) > 1:
        shown = ", ".join(found[:10])
        message = f"the files hold {len(found)} namespaces ({shown}): choose one with --namespace"
        raise CommandError(message, exit_code=USAGE)
    return found[0] if found else DEFAULT_NAMESPACE


def build(world: World, namespace: str, keyring: Keyring, *, assume_secrets: bool = False) -> Build:
    """`assume_secrets`: take Secrets that are not in the files to be elsewhere, and all right."""
    pools = _of(world, ProviderPool, None)
    keys = _of(world, ApiKey, namespace)
    values = _values(world, keys, keyring)
    facts = {
        secret: {key: fact_of(value) for key, value in entries.items()}
        for secret, entries in values.items()
    }
    if assume_secrets:
        facts |= _assumed(pools, keys, values)
    compiled = compile_namespace(
        Inputs(
            namespace=namespace,
            namespace_labels={
                "kubernetes.io/metadata.name": namespace,
                **world.labels.get(namespace, {}),
            },
            pools=pools,
            keys=keys,
            policies=_of(world, RoutingPolicy, namespace),
            secrets=facts,
            unparsed=[
                found.resource
                for ref, found in world.resources.items()
                if isinstance(found.resource, Rejected) and ref.namespace == namespace
            ],
            displaced_keys=frozenset(_displaced(world, keys)),
        )
    )
    return Build(
        namespace=namespace,
        compiled=compiled,
        config_files=compiled.bundle.files() if compiled.bundle else {},
        credential_files={
            entry: values.get((source.namespace, source.name), {}).get(source.key, b"")
            for entry, source in compiled.credentials.items()
        }
        | {OVERFLOW_KEY_ENTRY: keyring.overflow_key(namespace).encode()},
        problems=tuple(_problems(world, compiled)),
        client_keys=tuple(_client_keys(world, compiled, keys, values)),
    )


def _of(world: World, kind: type[Kind], namespace: str | None) -> list[Kind]:
    """The valid ones, of one namespace or of all."""
    return [
        found.resource
        for ref, found in world.resources.items()
        if isinstance(found.resource, kind) and namespace in {None, ref.namespace}
    ]


def _values(world: World, keys: Iterable[ApiKey], keyring: Keyring) -> Values:
    """What the Secrets hold, the generated ones included."""
    values: dict[tuple[str, str], Mapping[str, bytes]] = dict(world.secrets)
    for key in keys:
        secret = (key.meta.namespace, key.meta.name + GENERATED_KEY_SUFFIX)
        if key.spec.secret_ref is None and secret not in values:
            made = keyring.key(key.meta.namespace, key.meta.name)
            values[secret] = {GENERATED_KEY_ENTRY: made.encode()}
    return values


def _displaced(world: World, keys: Iterable[ApiKey]) -> Iterator[str]:
    """ApiKeys whose Secret somebody else has written: the operator would leave it alone."""
    for key in keys:
        secret = (key.meta.namespace, key.meta.name + GENERATED_KEY_SUFFIX)
        is_taken = secret in world.secrets and world.owners.get(secret) != key.meta.name
        if key.spec.secret_ref is None and is_taken:
            yield key.meta.name


def _assumed(
    pools: Iterable[ProviderPool], keys: Iterable[ApiKey], values: Values
) -> dict[tuple[str, str], dict[str, ValueFact]]:
    assumed: dict[tuple[str, str], dict[str, ValueFact]] = {}
    for namespace, ref in _references(pools, keys):
        if (namespace, ref.name) not in values:
            value = StandIns().key(f"{namespace}/{ref.name}", ref.key)
            fact = replace(fact_of(value.encode()), webhook_secret=True)  # fit for whatever it is
            assumed.setdefault((namespace, ref.name), {})[ref.key] = fact
    return assumed


def _references(
    pools: Iterable[ProviderPool], keys: Iterable[ApiKey]
) -> Iterator[tuple[str, SecretKeyRef]]:
    for pool in pools:
        for provider in pool.spec.providers:
            refs = [credential.secret_ref for credential in provider.credentials]
            if provider.tls and provider.tls.ca_secret_ref:
                refs.append(provider.tls.ca_secret_ref)
            yield from ((pool.meta.namespace, ref) for ref in refs)
    for key in keys:
        if key.spec.secret_ref:
            yield key.meta.namespace, key.spec.secret_ref
        yield from ((key.meta.namespace, ref) for _, ref in further_secrets(key))


def _client_keys(
    world: World, compiled: Compiled, keys: Iterable[ApiKey], values: Values
) -> Iterator[ClientKey]:
    """In the order of the files."""
    let_in = {record.id for record in compiled.config.keys if record.enabled}
    for key in keys:
        if f"{key.meta.namespace}/{key.meta.name}" in let_in:
            source = key_secret(key)
            value = values.get((source.namespace, source.name), {}).get(source.key, b"")
            secret = Ref("Secret", source.namespace, source.name)
            owner = Ref("ApiKey", key.meta.namespace, key.meta.name)
            yield ClientKey(
                name=key.meta.name,
                value=value.decode().strip(),
                is_generated=secret not in world.places,
                place=world.places.get(secret) or world.places[owner],
            )


def _problems(world: World, compiled: Compiled) -> Iterator[Problem]:
    if compiled.too_large:
        yield Problem(Place(f"namespace {compiled.config.namespace}"), compiled.too_large)
    for verdict in compiled.verdicts:
        resource = verdict.resource
        ref = Ref(resource.kind.value, resource.namespace, resource.name)
        found = world.resources.get(ref)
        if found is not None:
            yield from _verdict_problems(ref, found, verdict)


def _verdict_problems(ref: Ref, found: Found, verdict: Verdict) -> Iterator[Problem]:
    resource = found.resource
    if isinstance(resource, Rejected):  # told already, when the document was read
        return
    is_good = verdict.status is not (verdict.type is ConditionType.CONFLICTED)
    severity = Severity.WARNING if is_good else Severity.ERROR
    if is_good and verdict.type is not ConditionType.ACCEPTED:
        return
    node = found.document.node.child("spec")
    spec = node.plain() if node else {}
    for message in verdict.said:
        if message == pending_note(resource):
            location, words = pending_fields(resource)[0], message
        else:
            location, words = locate(spec, message)
        yield _problem(ref, found, location, words, severity)


def _problem(
    ref: Ref, found: Found, location: Location, message: str, severity: Severity
) -> Problem:
    return Problem(found.place(location), message, str(ref), path_of(location), severity)
