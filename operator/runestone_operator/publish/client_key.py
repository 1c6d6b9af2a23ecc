"""Makes the client keys that no one brought: once, and never again while their Secret exists.

Written by create alone. A race, a restart or a second operator meets "exists already" and takes
what is there, so a key that someone uses is never replaced.
"""

import secrets
import string
from typing import Final

from runestone_operator.api.resource import ApiKey
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.views import build_view
from runestone_operator.compiler.inputs import key_secret
from runestone_operator.errors import ConflictError
from runestone_operator.kinds import SECRET
from runestone_operator.publish.kube import Kube
from runestone_operator.publish.manifests import client_key_manifest

PREFIX: Final = "sk-rs-"
LENGTH: Final = 43  # base 62: 256 bits
_ALPHABET: Final = string.ascii_letters + string.digits


def generate_key() -> str:
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(LENGTH))


def needs_key(key: ApiKey, cache: Cache) -> bool:
    if key.spec.secret_ref is not None or key.meta.deletion_timestamp is not None:
        return False
    return cache.secret(key.meta.namespace, key_secret(key).name) is None


async def create_client_key(kube: Kube, cache: Cache, key: ApiKey) -> None:
    """What is then there goes into the cache, so that the compile at hand sees it."""
    namespace, name = key.meta.namespace, key_secret(key).name
    try:
        made = await kube.create(SECRET, client_key_manifest(key, generate_key()))
    except ConflictError:
        made = await kube.read(SECRET, namespace, name)
    cache.put(build_view(SECRET, made))
