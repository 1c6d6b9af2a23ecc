"""The key that a namespace's jobs are sealed with: made once, and never again while it is anywhere.

It has a Secret of its own, written by create alone, so that of two operators that race one meets
"exists already" and takes what is there. From it the managed Secret has a copy, and where the
original was lost, the copy becomes the original again: with another key, jobs could not be read.
"""

import base64
import logging
import secrets
from collections.abc import Mapping
from typing import Final

from runestone_contract.names import (
    CREDENTIALS_SECRET,
    OVERFLOW_KEY_ENTRY,
    OVERFLOW_KEY_SECRET,
)
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.views import build_view, secret_value
from runestone_operator.compiler.inputs import SecretSource
from runestone_operator.errors import ConflictError, NotFoundError, RefusedError
from runestone_operator.kinds import SECRET
from runestone_operator.publish.kube import Kube
from runestone_operator.publish.manifests import overflow_key_manifest

KEY_BYTES: Final = 32

log = logging.getLogger(__name__)


def generate_overflow_key() -> bytes:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES))


async def overflow_credential(
    kube: Kube, cache: Cache, namespace: str
) -> Mapping[str, SecretSource]:
    """Where its value is; nothing where it can neither be found nor made (a quota): then there are
    no jobs, and all else is as it would be. Raises KubeErrors."""
    if cache.secret(namespace, OVERFLOW_KEY_SECRET) is None:
        try:
            await _create(kube, cache, namespace)
        except RefusedError as error:
            log.warning("no overflow key", extra={"namespace": namespace, "error": str(error)})
            return {}
    view = cache.secret(namespace, OVERFLOW_KEY_SECRET)
    fact = view.facts.get(OVERFLOW_KEY_ENTRY) if view else None
    if fact is None or not fact.size:
        return {}
    source = SecretSource(namespace, OVERFLOW_KEY_SECRET, OVERFLOW_KEY_ENTRY)
    return {OVERFLOW_KEY_ENTRY: source}


async def _create(kube: Kube, cache: Cache, namespace: str) -> None:
    value = await _copy(kube, namespace) or generate_overflow_key()
    try:
        made = await kube.create(SECRET, overflow_key_manifest(namespace, value))
    except ConflictError:
        made = await kube.read(SECRET, namespace, OVERFLOW_KEY_SECRET)
    cache.put(build_view(SECRET, made))


async def _copy(kube: Kube, namespace: str) -> bytes | None:
    """Asked of the API server: a cache may not know yet what another operator has written."""
    try:
        body = await kube.read(SECRET, namespace, CREDENTIALS_SECRET)
    except NotFoundError:
        return None
    return secret_value((body.get("data") or {}).get(OVERFLOW_KEY_ENTRY)).strip() or None
