"""Where the sidecars of a namespace write down who holds what of the limits, and each other's signs
of life: what is needed of such a place."""

from typing import Protocol

Entry = tuple[bytes, int, float]  # content, revision, age in seconds by the ledger's own clock


class Ledger(Protocol):
    """Each method raises ConnectionError where it cannot be said what came of the call."""

    async def read(self, key: str) -> Entry | None: ...

    async def write(
        self, key: str, content: bytes, *, after: int | None = None, ttl_s: float | None = None
    ) -> int | None:
        """The new revision; None: nothing was written, for the one there is not `after`.

        0 is the revision of what does not exist.
        """
