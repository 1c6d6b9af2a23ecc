"""The real sidecar as a child process on ports of the kernel's choice."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[3]
START_DEADLINE_S = 60.0


class DidNotHappen(AssertionError):
    pass


def wait_until(what: str, happened: Any, *, within_s: float = 30.0, every_s: float = 0.02) -> Any:
    """The first true value of `happened()`; polls, never sleeps for luck."""
    end = time.monotonic() + within_s
    while True:
        if value := happened():
            return value
        if time.monotonic() > end:
            raise DidNotHappen(f"not within {within_s} s: {what}")
        time.sleep(every_s)


@dataclass
class Sidecar:
    process: subprocess.Popen[bytes]
    log: Path
    api: str  # "http://127.0.0.1:PORT"
    health: str

    @property
    def base_url(self) -> str:
        return f"{self.api}/v1"

    def get(self, path: str) -> tuple[int, Any]:
        """A health URL's status and its JSON (or text)."""
        try:
            with urllib.request.urlopen(f"{self.health}{path}", timeout=30) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode()

    def wait_for_digest(self, digest: str) -> None:
        wait_until(
            f"digest {digest[:12]} is applied",
            lambda: self.get("/health/config")[1]["digest"] == digest,
        )

    def metric(self, name: str, **labels: str) -> float | None:
        """One sample of the exposition, as Prometheus would read it."""
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    def lines(self) -> list[dict[str, Any]]:
        """Its log, parsed: every line is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self, *, within_s: float = 60.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)


@contextmanager
def running_sidecar(
    root: Path, log_dir: Path, *, under: Sequence[str] = (), **env: str
) -> Iterator[Sidecar]:
    """Serves `root`/config and `root`/credentials; killed at the end if it still runs.

    `under` is a command that becomes it, with a limit set say.
    """
    log_path = log_dir / f"sidecar-{time.monotonic_ns()}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*under, sys.executable, "-m", "runestone_sidecar"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ
            | {
                "PYTHONPATH": f"{ROOT}/sidecar",
                "PORT": "0",
                "HEALTH_PORT": "0",
                "HEALTH_HOST": "127.0.0.1",
                "RUNESTONE_CONFIG_DIR": str(root / "config"),
                "RUNESTONE_CREDENTIALS_DIR": str(root / "credentials"),
            }
            | env,
        )
    try:
        found = wait_until(
            "the sidecar says where it listens",
            lambda: _addresses(process, log_path),
            within_s=START_DEADLINE_S,
        )
        sidecar = Sidecar(process, log_path, f"http://{found[1]}", f"http://{found[2]}")
        wait_until("the sidecar answers", lambda: sidecar.get("/health/live")[0] == 200)
        yield sidecar
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _addresses(process: subprocess.Popen[bytes], log: Path) -> re.Match[str] | None:
    text = log.read_text()
    if process.poll() is not None:
        raise AssertionError(f"the sidecar ended with {process.returncode}:\n{text}")
    return re.search(r"API on ([\d.:]+), health and metrics on ([\d.:]+)", text)
