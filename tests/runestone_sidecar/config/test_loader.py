"""Mounted files -> Snapshot: only what changed is decoded, the last good one wins."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from runestone_contract.bundle import BundleError, decode_record, encode
from runestone_contract.config import Config, Key
from runestone_sidecar.config import loader as loader_module
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.config.loader import Loader
from runestone_sidecar.config.source import Source, signature
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_testing import bundles


def keys(count: int) -> tuple[Key, ...]:
    return tuple(bundles.key(f"k{n}", secret=f"sk-rs-test-number-{n:020}") for n in range(count))


def config(count: int = 1) -> Config:
    return bundles.config(bundles.provider("http://127.0.0.1:1/v1"), keys=keys(count))


def fresh(root: Path) -> tuple[Source, Holder]:
    holder = Holder(Metrics())
    return Source(root / "config", root / "credentials", holder), holder


async def test_a_bundle_becomes_a_snapshot(tmp_path: Path) -> None:
    digest = bundles.publish(tmp_path, config(3))
    source, holder = fresh(tmp_path)
    await source.refresh()
    assert holder.current is not None
    assert holder.current.digest == digest
    assert len(holder.current.keys) == 3
    head = holder.current.pools["shop/pool"].providers[0].heads[0]
    assert f"Bearer {bundles.PROVIDER_KEY}".encode() in head


async def test_only_lines_not_seen_before_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles.publish(tmp_path, config(200))
    found = Loader(tmp_path / "config", tmp_path / "credentials")
    first = await found.load(None)
    decoded: list[bytes] = []

    def counting(line: bytes) -> object:
        decoded.append(line)
        return decode_record(line)

    monkeypatch.setattr(loader_module, "decode_record", counting)
    bundles.publish(tmp_path, config(201))
    second = await found.load(first)
    assert len(second.keys) == 201
    assert len(decoded) == 1


async def test_unchanged_files_give_the_same_snapshot(tmp_path: Path) -> None:
    bundles.publish(tmp_path, config())
    found = Loader(tmp_path / "config", tmp_path / "credentials")
    first = await found.load(None)
    bundles.publish(tmp_path, config())
    assert await found.load(first) is first


async def test_a_changed_credential_is_a_new_snapshot(tmp_path: Path) -> None:
    bundles.publish(tmp_path, config())
    found = Loader(tmp_path / "config", tmp_path / "credentials")
    first = await found.load(None)
    bundles.publish(tmp_path, config(), {"cred-a": "sk-rotated-key-000000000000"})
    second = await found.load(first)
    assert second.digest == first.digest
    assert second.credentials != first.credentials
    assert b"sk-rotated-key" in second.pools["shop/pool"].providers[0].heads[0]


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        (directory / name).write_bytes(content)

    return damage


def _remove(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_write("index.json", b"{not json"), id="D1-invalid-json"),
        pytest.param(_write("index.json", b"[]"), id="D1-not-an-index"),
        pytest.param(_write("index.json", b""), id="D3-empty-file"),
        pytest.param(_write("shard-0.jsonl", b'{"kind":"po'), id="D4-half-written"),
        pytest.param(_remove("shard-0.jsonl"), id="D7-shard-deleted"),
        pytest.param(_remove("index.json"), id="D7-index-deleted"),
        pytest.param(
            _write("index.json", encode(config()).index.replace(b'"1.0"', b'"2.0"')),
            id="other-major-version",
        ),
    ],
)
async def test_the_last_good_snapshot_serves_through_damage(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    plain = tmp_path / "config"
    plain.mkdir()
    for name, content in encode(config()).files().items():
        (plain / name).write_bytes(content)
    source, holder = fresh(tmp_path)
    await source.refresh()
    good = holder.current
    assert good is not None
    for name, content in encode(config(2)).files().items():
        (plain / name).write_bytes(content)
    damage(plain)
    await source.refresh()
    assert holder.current is good
    assert holder.refused is not None
    for name, content in encode(config(2)).files().items():
        (plain / name).write_bytes(content)
    await source.refresh()
    assert holder.current is not good
    assert holder.refused is None


async def test_a_credential_that_is_no_text_takes_out_its_provider_alone(tmp_path: Path) -> None:
    bundles.publish(tmp_path, config())
    bundles.swap(tmp_path / "credentials", {"cred-a": b"\xff\xfe", "cred-b": b"sk-fine"})
    source, holder = fresh(tmp_path)
    await source.refresh()
    assert holder.refused is None
    assert holder.current is not None
    assert holder.current.pools["shop/pool"].providers[0].unavailable == "CredentialsMissing"


async def test_missing_directories_are_no_configuration_yet(tmp_path: Path) -> None:
    source, holder = fresh(tmp_path)
    await source.refresh()
    assert holder.current is None
    with pytest.raises(BundleError):
        await Loader(tmp_path / "config", tmp_path / "credentials").load(None)


async def test_a_swap_is_noticed(tmp_path: Path) -> None:
    bundles.publish(tmp_path, config(1))
    source, holder = fresh(tmp_path)
    await source.refresh()
    watch = asyncio.create_task(source.watch())
    try:
        digest = bundles.publish(tmp_path, config(2))
        async with asyncio.timeout(30):
            while holder.current is None or holder.current.digest != digest:
                await asyncio.sleep(0.01)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def test_unknown_fields_and_kinds_of_a_newer_operator_are_ignored(tmp_path: Path) -> None:
    from runestone_contract.canonical import canonical, digest

    lines = encode(config()).shards[0].splitlines()
    newer = [line.replace(b'"kind"', b'"novelty":1,"kind"', 1) for line in lines]
    shard = b"\n".join([*newer, b'{"id":"shop/x","kind":"spell"}', b""])
    body = {
        "schema_version": "1.9",
        "namespace": "shop",
        "shards": [{"name": "shard-0.jsonl", "sha256": digest(shard), "records": 4}],
        "novelty": {"a": 1},
    }
    index = canonical(body | {"digest": digest(canonical(body))})
    bundles.swap(tmp_path / "config", {"index.json": index, "shard-0.jsonl": shard})
    source, holder = fresh(tmp_path)
    await source.refresh()
    assert holder.current is not None
    assert len(holder.current.pools) == 1


async def test_d1_files_that_no_reader_foresaw_do_not_end_the_watch(tmp_path: Path) -> None:
    bundles.publish(tmp_path, config(1))
    source, holder = fresh(tmp_path)
    await source.refresh()
    good = holder.current
    watch = asyncio.create_task(source.watch())
    # A lone surrogate is JSON, and cannot be encoded again to compare it with its digest.
    strange = encode(config()).index.replace(b'"shop"', b'"\\ud800"')
    try:
        bundles.swap(tmp_path / "config", {"index.json": strange})
        await _until(lambda: holder.refused is not None)
        assert holder.current is good
        digest = bundles.publish(tmp_path, config(2))
        await _until(lambda: holder.current is not None and holder.current.digest == digest)
        assert holder.refused is None
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def test_a_link_to_nowhere_hides_no_change(tmp_path: Path) -> None:
    (tmp_path / ".#index.json").symlink_to("somebody@somewhere")
    before = signature((tmp_path,))
    (tmp_path / "index.json").write_bytes(b"{}")
    assert signature((tmp_path,)) != before


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.01)
