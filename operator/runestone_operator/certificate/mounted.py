"""A certificate that someone else keeps (cert-manager), mounted as files: read anew when they
change. Whoever keeps it also tells the API server whom to trust."""

import asyncio
import logging
from pathlib import Path

from runestone_operator.certificate.pair import expires_at
from runestone_operator.certificate.serving import Serving
from runestone_operator.metrics import Metrics

log = logging.getLogger(__name__)


async def follow_mounted(
    directory: Path, serving: Serving, metrics: Metrics, *, check_s: float
) -> None:
    """Until cancelled."""
    told = ""
    while True:
        problem = _load(directory, serving, metrics)
        if problem != told:
            if problem:
                log.error("webhook certificate not loaded", extra={"problem": problem})
            told = problem
        await asyncio.sleep(check_s)


def _load(directory: Path, serving: Serving, metrics: Metrics) -> str:
    """What is wrong, if anything."""
    try:
        cert, key = ((directory / name).read_bytes() for name in ("tls.crt", "tls.key"))
        if serving.load(cert, key):
            until = expires_at(cert)
            log.info("webhook certificate loaded", extra={"until": until and until.isoformat()})
            metrics.certificate_expiry.set(until.timestamp() if until else 0)
    except OSError as error:
        return f"cannot be read: {error.strerror or type(error).__name__}"
    return ""
