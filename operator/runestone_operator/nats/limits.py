"""What one namespace may take of the NATS server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccountLimits:
    disk_bytes: int = 1 << 30  # set aside for it, used or not: a lone server keeps to its storage
    memory_bytes: int = 0
    streams: int = 32
    consumers: int = 10_000  # of each stream
    connections: int = 10_000
