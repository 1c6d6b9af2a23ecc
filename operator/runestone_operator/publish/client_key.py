"""Makes the client keys that no one brought, and replaces them when that is asked for.

Made by create alone: a race, a restart or a second operator meets "exists already" and takes what
is there. Replaced by one patch that holds for one version of the Secret alone, after both objects
were read anew: whoever is late, or has stood still, finds that it was done.
"""

import secrets
import string
from typing import Final

from runestone_operator.api.load import parse
from runestone_operator.api.resource import ApiKey
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.history import Cause, KeyHistory, first_history, rotation_due
from runestone_operator.collect.views import SecretView, build_view
from runestone_operator.compiler.inputs import GENERATED_KEY_ENTRY, key_secret
from runestone_operator.errors import ConflictError, NotFoundError, StaleInputsError
from runestone_operator.kinds import KEY, SECRET
from runestone_operator.publish.kube import Kube
from runestone_operator.publish.manifests import client_key_manifest, new_client_key_patch

PREFIX: Final = "sk-rs-"
LENGTH: Final = 43  # base 62: 256 bits
_ALPHABET: Final = string.ascii_letters + string.digits


def generate_key() -> str:
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(LENGTH))


def needs_key(key: ApiKey, cache: Cache) -> bool:
    if key.spec.secret_ref is not None or key.meta.deletion_timestamp is not None:
        return False
    return cache.secret(key.meta.namespace, key_secret(key).name) is None


async def create_client_key(kube: Kube, cache: Cache, key: ApiKey, now_s: float) -> None:
    """What is then there goes into the cache, so that the compile at hand sees it."""
    namespace, name = key.meta.namespace, key_secret(key).name
    manifest = client_key_manifest(key, generate_key(), first_history(key, int(now_s)))
    try:
        made = await kube.create(SECRET, manifest)
    except ConflictError:
        made = await kube.read(SECRET, namespace, name)
    cache.put(build_view(SECRET, made))


async def replace_client_key(
    kube: Kube, cache: Cache, key: ApiKey, value: str, now_s: float
) -> Cause | None:
    """Why it was replaced; None where there is no reason to, as things are now.

    Raises StaleInputsError where another hand was faster, and KubeErrors.
    """
    try:
        current, secret = await _read_anew(kube, key)
    except NotFoundError as error:
        raise StaleInputsError(f"ApiKey {key.meta.namespace}/{key.meta.name}") from error
    cache.put(secret)
    is_same = current.meta.uid == key.meta.uid == secret.owner_uid
    if secret.history is None or current.spec.secret_ref is not None or not is_same:
        return None
    due = rotation_due(current, secret.history, now_s)
    if due is None or due[1] > 0:
        return None
    history = _next_history(secret, secret.history, current, int(now_s))
    patch = new_client_key_patch(value, history, secret.version)
    try:
        made = await kube.patch(SECRET, secret.namespace, secret.name, patch)
    except ConflictError as error:
        raise StaleInputsError(f"Secret {secret.namespace}/{secret.name}") from error
    cache.put(build_view(SECRET, made))
    return due[0]


async def _read_anew(kube: Kube, key: ApiKey) -> tuple[ApiKey, SecretView]:
    """The Secret first: what it says was done for an ApiKey that is then not older."""
    meta = key.meta
    secret = build_view(SECRET, await kube.read(SECRET, meta.namespace, key_secret(key).name))
    current = parse(await kube.read(KEY, meta.namespace, meta.name))
    if not isinstance(current, ApiKey) or not isinstance(secret, SecretView):
        raise StaleInputsError(f"ApiKey {meta.namespace}/{meta.name}")
    return current, secret


def _next_history(secret: SecretView, history: KeyHistory, key: ApiKey, now_s: int) -> KeyHistory:
    """What does not look like a key lets nobody in, and so needs no time to be replaced."""
    fact = secret.facts.get(GENERATED_KEY_ENTRY)
    return history.replaced(fact.sha256 if fact and fact.client_key else None, key, now_s)
