"""A Config as bytes: an index and checksummed shards of one canonical JSON record a line.

A record's shard follows from the hash of its id, so one changed resource touches one shard; a
reader keeps what it built from a line and decodes only lines it has not seen. The digest covers
the index, which names every shard by checksum: it is the identity of the whole.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from runestone_contract.canonical import canonical, digest
from runestone_contract.config import Config, Key, Policy, Pool, Record, Wire
from runestone_contract.names import INDEX_FILE, MAX_SHARDS, shard_file

SCHEMA_VERSION: Final = "1.0"
SHARD_LIMIT_BYTES: Final = 700 * 1024  # a ConfigMap holds 1 MiB, its metadata and encoding included

_record: Final[TypeAdapter[Pool | Key | Policy]] = TypeAdapter(Record)


class BundleError(Exception):
    """These bytes are not a bundle this reader can use; `reason` is fit for an operator's eyes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BundleTooLargeError(BundleError):
    """The namespace does not fit into MAX_SHARDS shards."""


class Shard(Wire):
    name: str
    sha256: str
    records: int


class Index(Wire):
    schema_version: str
    namespace: str
    digest: str
    shards: tuple[Shard, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    index: bytes
    shards: tuple[bytes, ...]
    digest: str

    def files(self) -> dict[str, bytes]:
        """File name -> content, as a pod sees them mounted."""
        return {INDEX_FILE: self.index} | {
            shard_file(number): data for number, data in enumerate(self.shards)
        }


def encode(config: Config) -> Bundle:
    """Equal configs give equal bytes. Raises BundleTooLargeError."""
    lines = sorted((identity_of(record), encode_record(record)) for record in config.records())
    shards = _split([(int(digest(name.encode())[:8], 16), line) for name, line in lines])
    body: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "namespace": config.namespace,
        "shards": [
            {"name": shard_file(number), "sha256": digest(data), "records": data.count(b"\n")}
            for number, data in enumerate(shards)
        ],
    }
    identity = digest(canonical(body))
    return Bundle(index=canonical(body | {"digest": identity}), shards=shards, digest=identity)


def identity_of(record: Pool | Key | Policy) -> str:
    """What a record is known by across versions of a bundle, and what its shard follows from."""
    return f"{record.kind} {record.id}"


def encode_record(record: Pool | Key | Policy) -> bytes:
    """One line, without its line break. Defaults are left out; `kind` is kept."""
    return canonical(record.model_dump(mode="json", exclude_defaults=True) | {"kind": record.kind})


def _split(records: list[tuple[int, bytes]]) -> tuple[bytes, ...]:
    count = 1
    while count <= MAX_SHARDS:
        parts: list[list[bytes]] = [[] for _ in range(count)]
        for place, line in records:
            parts[place % count].append(line)
        shards = tuple(b"".join(line + b"\n" for line in part) for part in parts)
        if all(len(shard) <= SHARD_LIMIT_BYTES for shard in shards):
            return shards
        count *= 2
    largest = max(len(line) + 1 for _, line in records)
    if largest > SHARD_LIMIT_BYTES:
        raise BundleTooLargeError(
            f"one resource takes {largest} bytes of configuration, more than the "
            f"{SHARD_LIMIT_BYTES} that fit into a ConfigMap"
        )
    size = sum(len(line) + 1 for _, line in records)
    raise BundleTooLargeError(
        f"the namespace's configuration takes {size} bytes, more than fits into "
        f"{MAX_SHARDS} ConfigMaps of {SHARD_LIMIT_BYTES} bytes"
    )


def parse_index(data: bytes) -> Index:
    """Raises BundleError where the bytes are damaged or of another major version."""
    try:
        body = json.loads(data)
        index = Index.model_validate(body)
    except (ValueError, RecursionError) as error:
        raise BundleError("the index is not valid") from error
    if index.schema_version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise BundleError(
            f"the index has schema version {index.schema_version}, "
            f"this reader knows {SCHEMA_VERSION}"
        )
    body.pop("digest")
    if digest(canonical(body)) != index.digest:
        raise BundleError("the index does not match its digest")
    return index


def check_shard(shard: Shard, data: bytes) -> list[bytes]:
    """The shard's lines. Raises BundleError where the bytes are not those that the index names."""
    if digest(data) != shard.sha256:
        raise BundleError(f"{shard.name} does not match its checksum in the index")
    return data.splitlines()


def decode_record(line: bytes) -> Pool | Key | Policy | None:
    """None for a kind that this reader does not know (a newer operator's). Raises BundleError."""
    try:
        value = json.loads(line)
        if value.get("kind") not in {"pool", "key", "policy"}:
            return None
        return _record.validate_python(value)
    except (ValueError, AttributeError, RecursionError) as error:
        raise BundleError("a record of the bundle is not valid") from error


def lines_of(files: Mapping[str, bytes]) -> tuple[Index, list[bytes]]:
    """Every record line of a bundle's files, checked but not decoded. Raises BundleError."""
    if INDEX_FILE not in files:
        raise BundleError(f"{INDEX_FILE} is missing")
    index = parse_index(files[INDEX_FILE])
    lines: list[bytes] = []
    for shard in index.shards:
        if shard.name not in files:
            raise BundleError(f"{shard.name} is missing")
        lines += check_shard(shard, files[shard.name])
    return index, lines


def decode(files: Mapping[str, bytes]) -> Config:
    """The whole Config of a bundle's files. Raises BundleError."""
    index, lines = lines_of(files)
    records = [record for line in lines if (record := decode_record(line)) is not None]
    return Config(
        namespace=index.namespace,
        pools=tuple(record for record in records if isinstance(record, Pool)),
        keys=tuple(record for record in records if isinstance(record, Key)),
        policies=tuple(record for record in records if isinstance(record, Policy)),
    )


def lines_by_identity(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """ "kind id" -> line: what the compiler goes back to. Raises BundleError."""
    _, lines = lines_of(files)
    found: dict[str, bytes] = {}
    for line in lines:
        try:
            value = json.loads(line)
            found[f"{value['kind']} {value['id']}"] = line
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleError("a record of the bundle is not valid") from error
    return found
