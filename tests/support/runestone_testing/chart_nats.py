"""The nats-servers of a rendered chart, run here: names and ports of the cluster become ports of
127.0.0.1, folders become folders of the test, and all else stays as it is rendered."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runestone_operator.nats.server_config import auth_config
from runestone_testing.charts import one
from runestone_testing.child_process import ChildProcess
from runestone_testing.nats import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runestone_operator.nats.trust import Trust
    from runestone_testing.charts import Document

SERVER = str(Path(sys.executable).with_name("nats-server"))
PORTS = {"nats": 4222, "cluster": 6222, "monitor": 8222}
START_S = 60
ANSWER_S = 10


@dataclass
class ChartServer:
    """One pod's."""

    pod: str
    folder: Path
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})
    process: ChildProcess | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.ports['nats']}"

    def start(self, config: str, auth: str) -> None:
        (self.folder / "auth").mkdir(parents=True)
        (self.folder / "auth" / "auth.conf").write_text(auth)
        (self.folder / "run").mkdir()
        file = self.folder / "nats.conf"
        file.write_text(config)
        argv = ["/usr/bin/env", f"POD_NAME={self.pod}", SERVER, "--config", str(file)]
        self.process = ChildProcess(argv, log=self.folder / "log")

    def kill(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None

    def asked(self, path: str) -> Any:
        """Of its monitoring port. Raises OSError."""
        url = f"http://127.0.0.1:{self.ports['monitor']}{path}"
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
            return json.load(answer)

    def is_ready(self, probe: str) -> bool:
        try:
            return bool(self.asked(probe) == {"status": "ok"})
        except OSError:
            return False


@dataclass
class ChartNats:
    servers: dict[str, ChartServer]  # by pod

    @property
    def urls(self) -> str:
        return ",".join(server.url for server in self.servers.values())

    def here(self, text: str) -> str:
        """With ports of this machine where the chart names those of pods."""
        for pod, server in self.servers.items():
            for name, port in PORTS.items():
                there = rf"{re.escape(pod)}\.[a-z0-9.-]+\.svc:{port}\b"
                text = re.sub(there, f"127.0.0.1:{server.ports[name]}", text)
        return text

    def leader(self, stream: str) -> str:
        """Of those that run; empty while none of them says."""
        told = (group.get("leader", "") for group in self._groups(stream))
        return next((pod for pod in told if pod and self.servers[pod].process), "")

    def copies(self, stream: str) -> int:
        """As the one that leads has it."""
        return max(1 + len(group.get("replicas", ())) for group in self._groups(stream))

    def _groups(self, stream: str) -> Iterator[dict[str, Any]]:
        for server in self.servers.values():
            if server.process is not None:
                yield from _groups(server, stream)


def _groups(server: ChartServer, stream: str) -> Iterator[dict[str, Any]]:
    """Who keeps it, as this server has it."""
    for account in server.asked("/jsz?accounts=true&streams=true").get("account_details", ()):
        for found in account.get("stream_detail", ()):
            if found["name"] == stream:
                yield found["cluster"]


@contextmanager
def chart_nats(documents: Sequence[Document], trust: Trust, root: Path) -> Iterator[ChartNats]:
    """As many as the StatefulSet has, all ready as its probe asks."""
    stateful = one(documents, "StatefulSet", "-nats")
    config = one(documents, "ConfigMap", "-nats")["data"]["nats.conf"]
    pods = [
        f"{stateful['metadata']['name']}-{number}" for number in range(stateful["spec"]["replicas"])
    ]
    found = ChartNats({pod: ChartServer(pod, root / pod) for pod in pods})
    with ExitStack() as stack:
        for server in found.servers.values():
            stack.callback(server.kill)
            server.start(
                _of_pod(found.here(config), server),
                auth_config(trust, str(server.folder / "data/jwt")),
            )
        (container,) = stateful["spec"]["template"]["spec"]["containers"]
        probe = container["readinessProbe"]["httpGet"]["path"]
        for server in found.servers.values():
            assert server.process is not None
            server.process.wait_until(
                lambda each=server: each.is_ready(probe),  # type: ignore[misc]
                timeout_s=START_S,
            )
        yield found


def _of_pod(config: str, server: ChartServer) -> str:
    """Its folders, and the ports that it listens on."""
    config = config.replace("/var/run/nats", str(server.folder / "run"))
    config = re.sub(r"(?<=[ \"])/data\b", str(server.folder / "data"), config)
    for name, port in PORTS.items():
        config = re.sub(
            rf"^( *(?:http_)?port: ){port}$", rf"\g<1>{server.ports[name]}", config, flags=re.M
        )
    return config
