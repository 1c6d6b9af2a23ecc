"""Waits for the CRDs: Kopf would look for them once, warn, and then serve nothing."""

import asyncio
import logging
from typing import Final

from runestone_operator.errors import KubeError, NotFoundError
from runestone_operator.kinds import RESOURCES, Kind
from runestone_operator.publish.kube import Kube
from runestone_operator.watch.canary import Canary

log = logging.getLogger(__name__)

POLL_S: Final = 2.0


async def wait_for_crds(kube: Kube, canary: Canary) -> None:
    told = ""
    while True:
        try:
            missing = [kind.name for kind in RESOURCES if not await _is_served(kube, kind)]
        except KubeError as error:
            problem = str(error)
        else:
            canary.answered()
            if not missing:
                return
            problem = f"not installed: {', '.join(missing)}"
        if problem != told:
            log.error("waiting for the CRDs of runestone.dev", extra={"problem": problem})
            told = problem
        await asyncio.sleep(POLL_S)


async def _is_served(kube: Kube, kind: Kind) -> bool:
    try:
        return await kube.serves(kind)
    except NotFoundError:
        return False
