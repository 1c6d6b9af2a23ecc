"""Mounted files -> Snapshot, decoding only records whose line was not seen before.

10,000 keys take 70 ms to decode at once, and every stream would wait that long: the work is done
in slices with the event loop let in between, and what was built from a line is kept for the next
reload. Files are read through the resolved `..data`, so that two generations never mix.
"""

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runestone_contract.bundle import (
    BundleError,
    Index,
    check_shard,
    decode_record,
    parse_index,
)
from runestone_contract.canonical import credentials_digest, digest
from runestone_contract.config import Key, Policy
from runestone_contract.config import Pool as PoolRecord
from runestone_contract.names import DATA_LINK, INDEX_FILE, OVERFLOW_KEY_ENTRY
from runestone_sidecar.config.build import (
    Credentials,
    assemble,
    build_pool,
    build_principal,
)
from runestone_sidecar.config.snapshot import Principal, Snapshot

SLICE_S: Final = 0.002  # longest the event loop is held at a stretch

Built = Principal | PoolRecord | Policy | None


@dataclass(frozen=True, slots=True)
class Files:
    """One generation of a mounted directory."""

    path: Path

    @classmethod
    def of(cls, directory: Path) -> "Files":
        link = directory / DATA_LINK
        return cls(link.resolve() if link.is_symlink() else directory)

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise BundleError(f"{name} cannot be read: {error.strerror}") from error


class Loader:
    """Keeps what was built from each line; one `load` at a time."""

    def __init__(self, config_dir: Path, credentials_dir: Path) -> None:
        self._config_dir = config_dir
        self._credentials_dir = credentials_dir
        self._built: dict[bytes, Built] = {}

    async def load(self, current: Snapshot | None) -> Snapshot:
        """The Snapshot of the files as they stand, `current` itself where nothing changed.

        Raises BundleError; what was loaded before stays good.
        """
        files = Files.of(self._config_dir)
        index = parse_index(files.read(INDEX_FILE))
        credentials = read_credentials(self._credentials_dir)
        if (
            current is not None
            and current.digest == index.digest
            and current.credentials == credentials.digest
        ):
            return current
        pace = Pace()
        built = await self._build_lines(index, files, pace)
        parts = Parts()
        for item in built.values():
            parts.add(item)
            if pace.due():
                await pace.breathe()
        snapshot = assemble(
            digest=index.digest,
            credentials=credentials.digest,
            namespace=index.namespace,
            pools=[build_pool(pool, credentials) for pool in parts.pools],
            policies=parts.policies,
            keys=parts.keys,
            service_accounts=parts.service_accounts,
            overflow_key=credentials.values.get(OVERFLOW_KEY_ENTRY),
            webhook_secrets={
                name: value
                for name, value in credentials.values.items()
                if name in parts.webhook_entries
            },
        )
        self._built = built
        return snapshot

    async def _build_lines(self, index: Index, files: Files, pace: "Pace") -> dict[bytes, Built]:
        known = self._built
        built: dict[bytes, Built] = {}
        for shard in index.shards:
            lines = check_shard(shard, files.read(shard.name))
            await pace.breathe()
            for line in lines:
                built[line] = known[line] if line in known else _build(line)
                if pace.due():
                    await pace.breathe()
        return built


def _build(line: bytes) -> Built:
    record = decode_record(line)
    return build_principal(record) if isinstance(record, Key) else record


@dataclass(slots=True)
class Parts:
    """What a Snapshot is assembled of, gathered one record at a time."""

    pools: list[PoolRecord] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)
    keys: dict[str, Principal] = field(default_factory=dict)
    service_accounts: dict[str, Principal] = field(default_factory=dict)
    webhook_entries: set[str] = field(default_factory=set)  # of the credentials

    def add(self, item: Built) -> None:
        if isinstance(item, Principal):
            if item.webhooks is not None and item.webhooks.secret is not None:
                self.webhook_entries.add(item.webhooks.secret)
            for sha256 in item.hashes:
                self.keys[sha256] = item
            for name in item.service_accounts:
                self.service_accounts[name] = item
        elif isinstance(item, PoolRecord):
            self.pools.append(item)
        elif isinstance(item, Policy):
            self.policies.append(item)


class Pace:
    """Lets the event loop in whenever a slice's time is used up."""

    def __init__(self) -> None:
        self._until = time.perf_counter() + SLICE_S

    def due(self) -> bool:
        return time.perf_counter() >= self._until

    async def breathe(self) -> None:
        await asyncio.sleep(0)
        self._until = time.perf_counter() + SLICE_S


def read_credentials(directory: Path) -> Credentials:
    """Every regular file of the directory; none where it is not mounted (yet).

    One that is no text is as good as missing, and takes out who needs it alone.
    """
    path = Files.of(directory).path
    found: dict[str, bytes] = {}
    try:
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            if not entry.name.startswith("..") and entry.is_file():
                found[entry.name] = Path(entry.path).read_bytes().strip()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise BundleError("the credentials directory cannot be read") from error
    values: dict[str, str] = {}
    for name, value in found.items():
        with contextlib.suppress(UnicodeDecodeError):
            values[name] = value.decode()
    hashes = {name: digest(value) for name, value in found.items()}
    return Credentials(digest=credentials_digest(hashes), values=values)
