"""Where a run listens, and how it speaks."""

from dataclasses import dataclass

from runestone_operator.cli.run import ports


@dataclass(frozen=True, slots=True)
class Options:
    host: str
    port: int
    health_port: int
    nats_port: int | None  # None: no NATS
    show_key: bool
    json_log: bool

    @property
    def base_url(self) -> str:
        return ports.url(self.host, self.port)

    @property
    def health_url(self) -> str:
        return ports.url(self.host, self.health_port)
