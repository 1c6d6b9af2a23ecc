"""Starts what is measured, each on a port of the kernel's choice, and stops it again."""

import json
import os
import socket
import string
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import Cpus, pinned

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
CLIENT_KEY = "sk-rs-bench-0123456789abcdefghijklmnopqrstuvwxyz"
PROVIDER = "provider itself"
START_DEADLINE_S = 30.0
CHAT = json.dumps(
    {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
).encode()


@dataclass(frozen=True, slots=True)
class Gateway:
    name: str
    pid: int
    url: str
    ready_s: float  # from its start to the first answer


@dataclass(frozen=True, slots=True)
class Site:
    """Where all of a benchmark happens."""

    folder: Path
    cpus: Cpus
    provider_port: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """`command` prepares what the gateway needs in the site's folder and says how to start it."""

    name: str
    command: Callable[[Site, int], list[str]]
    environment: Callable[[Site, int], dict[str, str]] = lambda _site, _port: {}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(recipe: Recipe, site: Site) -> Iterator[Gateway]:
    port = free_port()
    command = recipe.command(site, port)
    # No proxy of the environment's, and no variable of the project's, but the recipe's own.
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment = clean | recipe.environment(site, port)
    url = f"http://127.0.0.1:{port}"
    log_path = site.folder / f"{recipe.name}.log"
    with log_path.open("ab") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            pinned(site.cpus.gateway, command), env=environment, stdout=log, stderr=log
        )
    try:
        _wait_for_answer(process, url, log_path)
        yield Gateway(recipe.name, process.pid, url, time.perf_counter() - started)
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for_answer(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        data=CHAT,
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {CLIENT_KEY}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            opener.open(request, timeout=5).read()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"bench: no answer from {url}: {error}\n{log.read_text()[-2000:]}"
                ) from error
            time.sleep(0.005)
        else:
            return


@contextmanager
def running_provider(folder: Path, cpus: Cpus) -> Iterator[Gateway]:
    """The stand-in is its own gateway: nothing is in between."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.provider", str(port)]
    log_path = folder / "provider.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(pinned(cpus.load, command), stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for_answer(process, url, log_path)
        yield Gateway(PROVIDER, process.pid, url, 0.0)
    finally:
        stop(process)


def _filled(name: str, site: Site, **values: str) -> Path:
    """A file of this folder with its $names filled in, in the site's folder."""
    text = string.Template((HERE / name).read_text()).substitute(
        values, folder=site.folder, provider_port=site.provider_port, client_key=CLIENT_KEY
    )
    path = site.folder / name
    path.write_text(text)
    return path


def _bare(site: Site, port: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.bare", str(port), str(site.provider_port)]


def _nginx(site: Site, port: int) -> list[str]:
    user_line = "user root;" if os.getuid() == 0 else ""  # or its worker cannot enter the folder
    return ["nginx", "-c", str(_filled("nginx.conf", site, port=str(port), user_line=user_line))]


def _sidecar(site: Site, port: int) -> list[str]:
    bundle = site.folder / "bundle"
    if not bundle.exists():
        resources = _filled("resources.yaml", site)
        compile_ = [str(BIN / "runestone"), "compile", "-f", str(resources), "-o", str(bundle)]
        done = subprocess.run(compile_, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: runestone compile failed:\n{done.stderr}")
    return [str(BIN / "runestone-sidecar")]


def _sidecar_environment(site: Site, port: int) -> dict[str, str]:
    return {
        "PORT": str(port),
        "HEALTH_PORT": "0",
        "HEALTH_HOST": "127.0.0.1",
        "RUNESTONE_CONFIG_DIR": str(site.folder / "bundle" / "config"),
        "RUNESTONE_CREDENTIALS_DIR": str(site.folder / "bundle" / "credentials"),
    }


BARE = Recipe("bare", _bare)
SIDECAR = Recipe("sidecar", _sidecar, _sidecar_environment)
NGINX = Recipe("nginx", _nginx)
