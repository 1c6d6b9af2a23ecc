"""What one namespace may take of the NATS server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccountLimits:
    # Set aside in the storage of a lone server, used or not. 0: no bound, and nothing set aside.
    disk_bytes: int = 1 << 30
    memory_bytes: int = 0  # 0: none
    streams: int = 32
    consumers: int = 10_000  # of each stream
    connections: int = 10_000
