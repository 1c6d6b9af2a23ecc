"""Keeps the operator's own Secrets for NATS as they should be, whoever takes or changes them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from runestone_operator.errors import OperatorError
from runestone_operator.publish.nats_trust import Trustee

LOOK_EVERY_S: Final = 5.0

log = logging.getLogger(__name__)


async def keep_trust(trustee: Trustee, *, changed: Callable[[], None]) -> None:
    """Until cancelled. Looks at what the watches tell; asks only where something is amiss."""
    told = ""
    while True:
        before = trustee.trust
        error = await try_once(trustee)
        if error != told:
            told = error
            if error:
                log.warning("NATS accounts cannot be signed for", extra={"error": error})
        if trustee.trust != before:
            changed()
        await asyncio.sleep(LOOK_EVERY_S)


async def try_once(trustee: Trustee) -> str:
    """What went wrong, if anything did: all else goes on without."""
    if trustee.is_in_order:
        return ""
    try:
        await trustee.ensure()
    except OperatorError as error:
        return str(error)
    return ""
