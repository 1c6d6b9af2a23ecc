"""A shop on a real node: Runestone by its chart, providers' stand-in, applications under load."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
import yaml

from runestone_testing.node import OPERATOR_IMAGE, ROOT, SIDECAR_IMAGE, Node
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM: Final = "runestone-system"
SHOP: Final = "shop"
FILES: Final = ROOT / "tests" / "e2e" / "shop"
CHART: Final = ROOT / "charts" / "runestone"
# Requests that each trial under load takes at least: 20,000 is the figure that is promised, and
# takes minutes a trial.
REQUESTS: Final = int(os.environ.get("RUNESTONE_E2E_REQUESTS", "600"))
# How long the operator, and then the API server, is away at least: ten minutes are promised.
AWAY_S: Final = float(os.environ.get("RUNESTONE_E2E_AWAY_S", "10"))
RATE: Final = float(os.environ.get("RUNESTONE_E2E_RATE", "20"))  # a second, of each application
HELM_TIMEOUT_S: Final = 300


def image(reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}


def chart_values() -> dict[str, Any]:
    return {
        "operator": {"image": image(OPERATOR_IMAGE), "replicas": 2},
        "sidecar": {"image": image(SIDECAR_IMAGE)},
        "nats": {
            "auth": {"enabled": True},
            "storage": {"persistent": False},  # the node has no volumes to give
        },
    }


def helm(*args: str, values: Mapping[str, Any] | None = None) -> str:
    done = subprocess.run(
        ["helm", *args, *(["--values", "-"] if values is not None else [])],
        input=None if values is None else yaml.safe_dump(dict(values)),
        stdin=subprocess.DEVNULL if values is None else None,
        capture_output=True,
        text=True,
        timeout=HELM_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"helm {' '.join(args)}: {done.stderr}{done.stdout}"
    return done.stdout


def install_chart(values: Mapping[str, Any]) -> None:
    """Or upgrade it."""
    helm(
        *("upgrade", "--install", "runestone", str(CHART)),
        *("--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", "240s"),
        values=values,
    )


@dataclass(frozen=True, slots=True)
class Standin:
    """The providers, and what the applications told of themselves; see tests/e2e/image."""

    url: str

    @classmethod
    def of(cls, node: Node) -> Standin:
        address = node.get("vendors", "service", "standin")["spec"]["clusterIP"]
        return cls(f"http://{address}")

    def set(self, **settings: Any) -> None:
        self._call("POST", "/e2e/settings", settings)

    def seen(self) -> dict[str, Any]:
        return self._call("GET", "/e2e/seen")

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = httpx.request(method, self.url + path, json=body, trust_env=False, timeout=30)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@dataclass(frozen=True, slots=True)
class Load:
    """What applications asked since it began, and what became of that."""

    standin: Standin
    before: Mapping[str, Counter[str]]  # by application

    @classmethod
    def begin(cls, standin: Standin, *, pods: int = 3, **orders: Any) -> Load:
        """Of so many applications at once."""
        quiet = {"rate": 0.0, "model": "gpt-4o-mini", "stream_share": 0.25}
        standin.set(forget=True, orders=quiet)
        wait_until("the applications are quiet", lambda: len(at_rest(standin)) >= pods)
        load = cls(standin, at_rest(standin))
        standin.set(orders={"rate": RATE, **orders})
        load.wait_for(pods)
        return load

    @property
    def ended(self) -> Counter[str]:
        """By outcome: `ok`, or why not."""
        totals: Counter[str] = Counter()
        for name, report in self.standin.seen()["reports"].items():
            totals += Counter(report["ended"]) - self.before.get(name, Counter())
        return totals

    def wait_for(self, more: int) -> None:
        """Until so many more have ended."""
        goal = self.ended.total() + more
        wait_until(
            f"{more} more requests",
            lambda: self.ended.total() >= goal,
            within_s=60 + 3 * more / RATE,
            every_s=0.2,
        )

    def last(self, seconds: float) -> None:
        """It goes on for so long."""
        until_s = time.monotonic() + seconds
        wait_until(
            f"{seconds:.0f} s of load",
            lambda: time.monotonic() >= until_s,
            within_s=seconds + 60,
            every_s=0.2,
        )

    def stop(self) -> Counter[str]:
        """What became of all of it."""
        self.standin.set(orders={"rate": 0.0})
        reports = len(self.standin.seen()["reports"])
        wait_until("all requests have ended", lambda: len(at_rest(self.standin)) == reports)
        return self.ended


def at_rest(standin: Standin) -> dict[str, Counter[str]]:
    """What became of their requests, of those that were told to stop and wait for no answer."""
    return {
        name: Counter(report["ended"])
        for name, report in standin.seen()["reports"].items()
        if (report["rate"] == 0 or report["stopped"])
        and report["asked"] == sum(report["ended"].values())
    }
