"""What one client may take of a server: bytes of a head, time, connections."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    connections: int = 4096
    idle_s: float = 75.0  # a connection without a request
    head_s: float = 10.0  # from a head's first byte to its last
    body_s: float = 30.0  # and a second more for each BODY_BYTES_PER_S
    stalled_s: float = 120.0  # a client that takes nothing of its answer
    head_bytes: int = 64 * 1024
    header_fields: int = 100
    url_bytes: int = 8 * 1024

    @property
    def look_every_s(self) -> float:
        """Whoever is late is found at the latest half of its time, or a second, afterwards."""
        return min(1.0, min(self.idle_s, self.head_s, self.body_s, self.stalled_s) / 2)


BODY_BYTES_PER_S = 16 * 1024
