"""How long a change takes from the API server to the decisions of every sidecar of a namespace.

A real API server, the operator as a process under its role, real sidecars on loopback; kubelet is
stood in for: it refreshes a pod's volumes when the pod is annotated, at once (a real one took 0.04
to 0.12 s for that). Measured from before the request that changes an ApiKey until the last sidecar
answers by the new one, as its clients would see it.

    PYTHONPATH=tests/support .venv/bin/python hack/benchmarks/delivery.py [--pods 3] [--trials 50]
"""

import argparse
import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runestone_testing.kube import ApiServer
from runestone_testing.kubelet import Kubelet
from runestone_testing.operators import Cluster, OperatorProcess, eventually, fill, settled
from runestone_testing.resources import key, pool
from runestone_testing.sidecar import Sidecar
from runestone_testing.sidecar_health import free_shared_port

NAMESPACE = "shop"
MODELS = ("gpt-4o", "gpt-4o-mini")
PAUSE_S = 0.005  # between two rounds of asking those that are behind
DEADLINE_S = 60
REQUESTS = re.compile(
    r'^runestone_operator_api_requests_total\{kind="(\w+)",outcome="\w+",verb="(\w+)"\} (\S+)$',
    re.M,
)

Answer = tuple[int, bytes]


class Client:
    """Asks one sidecar what a key may use, over one connection and with little work."""

    def __init__(self, sidecar: Sidecar, secret: str) -> None:
        host, _, port = sidecar.api.removeprefix("http://").partition(":")
        self._address = host, int(port)
        self._request = (
            f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n\r\n".encode()
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        return int(head.split()[1]), body


async def until_all(clients: Sequence[Client], decided: Callable[[Answer], bool]) -> float:
    """When the last of them has decided so, by the clock of time.monotonic()."""
    behind = list(clients)
    async with asyncio.timeout(DEADLINE_S):
        while behind:
            behind = [each for each in behind if not decided(await each.ask())]
            await asyncio.sleep(PAUSE_S)
    return time.monotonic()


def counts(operator: OperatorProcess) -> dict[str, float]:
    found = REQUESTS.findall(operator.read("/metrics") or "")
    return {f"{verb} {kind}": float(count) for kind, verb, count in found}


class Trials:
    def __init__(self, cluster: Cluster, operator: OperatorProcess, clients: list[Client]) -> None:
        self._cluster = cluster
        self._operator = operator
        self._clients = clients

    async def run(self, what: str, trials: int, change: Callable[[int], "Change"]) -> None:
        took_s, requests = [], []
        for number in range(trials):
            before = await asyncio.to_thread(self._quiet)
            wanted = change(number)
            began_s = time.monotonic()
            await asyncio.to_thread(self._cluster.apply, wanted.document)
            took_s.append(await until_all(self._clients, wanted.decided) - began_s)
            after = await asyncio.to_thread(self._quiet)
            requests.append(
                {
                    what: n - before.get(what, 0)
                    for what, n in after.items()
                    if n > before.get(what, 0)
                }
            )
        took_s.sort()
        p50, p99 = took_s[len(took_s) // 2], took_s[min(len(took_s) - 1, int(len(took_s) * 0.99))]
        print(f"{what:28} p50 {p50 * 1e3:6.0f} p99 {p99 * 1e3:6.0f} max {took_s[-1] * 1e3:6.0f} ms")
        usual = sorted(requests, key=lambda each: sum(each.values()))[len(requests) // 2]
        said = ", ".join(f"{count:.0f} {what}" for what, count in sorted(usual.items()))
        print(f"{'':28} {sum(usual.values()):.0f} API requests: {said}")

    def _quiet(self) -> dict[str, float]:
        """Once all is told that there is to tell of the last change."""
        settled(self._cluster, NAMESPACE)
        self._cluster.quiet_versions(NAMESPACE, for_s=0.7)
        return counts(self._operator)


class Change:
    def __init__(self, document: dict[str, object], decided: Callable[[Answer], bool]) -> None:
        self.document = document
        self.decided = decided


def narrowed(number: int) -> Change:
    """The key's models change from one to the other."""
    allowed = MODELS[number % 2]
    wanted = f'"{allowed}"'.encode()
    others = f'"{MODELS[1 - number % 2]}"'.encode()
    return Change(
        key(NAMESPACE, allowedModels=[allowed]),
        lambda answer: wanted in answer[1] and others not in answer[1],
    )


def revoked(number: int) -> Change:
    """Off and on again by turns; half of the trials are revocations."""
    is_on = number % 2 == 1
    return Change(
        key(NAMESPACE, enabled=is_on), lambda answer: answer[0] == (200 if is_on else 401)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=3)
    parser.add_argument("--trials", type=int, default=50)
    options = parser.parse_args()
    port = free_shared_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        ApiServer() as api,
        Cluster(api) as cluster,
        OperatorProcess(
            cluster, Path(folder) / "operator.log", env={"RUNESTONE_SIDECAR_PORT": str(port)}
        ) as operator,
    ):
        operator.wait_until_ready()
        cluster.create_namespace(NAMESPACE)
        fill(cluster, NAMESPACE)
        provider = pool(NAMESPACE)["spec"]["providers"][0] | {
            "models": [{"name": m} for m in MODELS]
        }
        cluster.apply(pool(NAMESPACE, providers=[provider]))
        settled(cluster, NAMESPACE)
        secret = cluster.secret_values(NAMESPACE, "client-api-key")["api-key"].decode()
        with Kubelet(cluster, NAMESPACE, Path(folder), health_port=port) as kubelet:
            sidecars = [
                kubelet.start(f"pod-{number}", 2 + number) for number in range(options.pods)
            ]
            eventually(
                "all run it",
                lambda: (
                    operator.metric('runestone_operator_sidecars{state="current"}') == options.pods
                ),
            )
            clients = [Client(each, secret) for each in sidecars]
            print(f"{options.pods} pods, {options.trials} trials each")
            asyncio.run(run(Trials(cluster, operator, clients), options.trials))


async def run(trials: Trials, count: int) -> None:
    await trials.run("models of a key changed", count, narrowed)
    await trials.run("key revoked, and let in again", count, revoked)


if __name__ == "__main__":
    main()
