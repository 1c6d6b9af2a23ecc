import json

import pytest

from runestone_contract import bundle, config
from runestone_contract.bundle import BundleError, BundleTooLargeError
from runestone_contract.canonical import canonical, digest
from runestone_contract.names import INDEX_FILE, MAX_SHARDS

SMALL = config.Config(
    namespace="shop",
    pools=(config.Pool(id="shop/a"), config.Pool(id="shop/b", strategy="Random")),
    keys=(config.Key(id="shop/k", tenant="t", hashes=(config.KeyHash(sha256="0" * 64),)),),
    policies=(config.Policy(id="shop/-", default=True),),
)


def keys(count: int, *, padding: int = 0) -> config.Config:
    return config.Config(
        namespace="shop",
        keys=tuple(
            config.Key(
                id=f"shop/key-{number}",
                tenant="t" * padding or "t",
                hashes=(config.KeyHash(sha256=digest(b"%d" % number)),),
            )
            for number in range(count)
        ),
    )


def test_reads_back_what_was_written() -> None:
    assert bundle.decode(bundle.encode(SMALL).files()) == SMALL


def test_leaves_defaults_out_and_keeps_the_kind() -> None:
    assert bundle.encode_record(config.Pool(id="shop/a")) == b'{"id":"shop/a","kind":"pool"}'


def test_order_of_records_does_not_matter() -> None:
    turned = SMALL.model_copy(update={"pools": SMALL.pools[::-1]})
    assert bundle.encode(turned) == bundle.encode(SMALL)


def test_digest_names_the_content() -> None:
    other = SMALL.model_copy(update={"pools": SMALL.pools[:1]})
    assert bundle.encode(other).digest != bundle.encode(SMALL).digest
    assert bundle.encode(SMALL.model_copy(update={"namespace": "else"})) != bundle.encode(SMALL)


def test_bytes_are_the_same_in_every_process_and_version() -> None:
    """A change here makes every sidecar reload, and may be one that older ones cannot read."""
    made = bundle.encode(SMALL)
    assert made.shards[0].splitlines() == [
        b'{"hashes":[{"sha256":"%b"}],"id":"shop/k","kind":"key","tenant":"t"}' % (b"0" * 64),
        b'{"default":true,"id":"shop/-","kind":"policy"}',
        b'{"id":"shop/a","kind":"pool"}',
        b'{"id":"shop/b","kind":"pool","strategy":"Random"}',
    ]
    assert made.digest == "cd54a4bb23c2661664864f7f7c3574054be8877990558ba3b5d66748ed13e4f9"


def test_an_empty_namespace_has_a_bundle() -> None:
    files = bundle.encode(config.Config(namespace="shop")).files()
    assert files.keys() == {INDEX_FILE, "shard-0.jsonl"}
    assert bundle.decode(files) == config.Config(namespace="shop")


class TestShards:
    def test_many_keys_are_spread_below_the_limit(self) -> None:
        made = bundle.encode(keys(6_000))
        assert 1 < len(made.shards) <= MAX_SHARDS
        assert max(map(len, made.shards)) <= bundle.SHARD_LIMIT_BYTES
        read = {key.id: key for key in bundle.decode(made.files()).keys}
        assert read == {key.id: key for key in keys(6_000).keys}

    def test_one_changed_record_touches_one_shard(self) -> None:
        many = keys(6_000)
        before = bundle.encode(many).shards
        for number in (0, 17, 1_000, 2_500, 5_999):
            changed = many.keys[number].model_copy(update={"enabled": False})
            rest = many.keys[:number] + many.keys[number + 1 :]
            after = bundle.encode(many.model_copy(update={"keys": (changed, *rest)})).shards
            assert sum(old != new for old, new in zip(before, after, strict=True)) == 1

    def test_too_much_is_refused_with_its_size(self) -> None:
        with pytest.raises(BundleTooLargeError, match=r"takes 1[67]\d{6} bytes, more than fits"):
            bundle.encode(keys(160, padding=100_000))

    def test_one_record_beyond_a_shard_is_refused(self) -> None:
        with pytest.raises(BundleTooLargeError, match=r"one resource takes 71\d{4} bytes"):
            bundle.encode(keys(1, padding=bundle.SHARD_LIMIT_BYTES))


class TestDamage:
    @pytest.fixture
    def files(self) -> dict[str, bytes]:
        return bundle.encode(SMALL).files()

    def test_every_flipped_byte_is_noticed(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            for place in range(len(data)):
                flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
                with pytest.raises(BundleError):
                    bundle.decode(files | {name: flipped})

    def test_every_cut_is_noticed(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            for length in range(len(data)):
                with pytest.raises(BundleError):
                    bundle.decode(files | {name: data[:length]})

    @pytest.mark.parametrize("name", [INDEX_FILE, "shard-0.jsonl"])
    def test_a_missing_file_is_named(self, files: dict[str, bytes], name: str) -> None:
        del files[name]
        with pytest.raises(BundleError, match=f"{name} is missing"):
            bundle.decode(files)

    def test_a_shard_of_another_bundle_is_refused(self, files: dict[str, bytes]) -> None:
        other = bundle.encode(config.Config(namespace="shop")).files()
        with pytest.raises(BundleError, match=r"shard-0\.jsonl does not match its checksum"):
            bundle.decode(files | {"shard-0.jsonl": other["shard-0.jsonl"]})

    @pytest.mark.parametrize(
        "data",
        [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b"1" * 5_000],
        ids=["empty", "null", "list", "no-fields", "not-utf8", "deep", "huge-number"],
    )
    def test_an_index_that_is_none_is_refused(self, data: bytes) -> None:
        with pytest.raises(BundleError, match="the index is not valid"):
            bundle.parse_index(data)

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"null",
            b"[]",
            b"{",
            b"[" * 100_000,
            b'{"kind":"pool"}',
            b'{"kind":"key","id":"shop/k","tenant":7}',
        ],
        ids=["empty", "null", "list", "cut", "deep", "field-missing", "field-of-wrong-type"],
    )
    def test_a_record_that_is_none_is_refused(self, line: bytes) -> None:
        with pytest.raises(BundleError, match="a record of the bundle is not valid"):
            bundle.decode_record(line)

    def test_what_is_wrong_is_said_without_content(self) -> None:
        with pytest.raises(BundleError) as caught:
            bundle.decode_record(b'{"kind":"key","id":"canary-4711","tenant":7}')
        assert "canary" not in caught.value.reason


class TestCompatibility:
    def test_unknown_fields_are_ignored(self) -> None:
        line = canonical(
            {
                "kind": "pool",
                "id": "shop/a",
                "invented": {"later": 1},
                "providers": [
                    {"name": "p", "dialect": "Sumerian", "base_url": "http://h", "clay": True}
                ],
            }
        )
        assert bundle.decode_record(line) == config.Pool(
            id="shop/a",
            providers=(config.Provider(name="p", dialect="Sumerian", base_url="http://h"),),
        )

    def test_unknown_kinds_are_left_out(self) -> None:
        files = with_line(b'{"id":"shop/x","kind":"quota"}')
        assert bundle.decode(files) == SMALL

    def test_unknown_fields_of_the_index_count_for_its_digest(self) -> None:
        body = json.loads(bundle.encode(SMALL).index)
        del body["digest"]
        body["signed_by"] = "somebody"
        index = canonical(body | {"digest": digest(canonical(body))})
        assert bundle.parse_index(index).namespace == "shop"

    @pytest.mark.parametrize(
        ("version", "readable"),
        [("1.0", True), ("1.7", True), ("2.0", False), ("0.9", False), ("10.0", False)],
        ids=["this", "newer-minor", "newer-major", "older-major", "two-digit-major"],
    )
    def test_the_major_version_gates(self, version: str, readable: bool) -> None:
        body = {"schema_version": version, "namespace": "shop", "shards": []}
        index = canonical(body | {"digest": digest(canonical(body))})
        if readable:
            assert bundle.parse_index(index).schema_version == version
        else:
            with pytest.raises(BundleError, match=f"schema version {version}, this reader knows"):
                bundle.parse_index(index)


class TestLines:
    def test_are_known_by_kind_and_id(self) -> None:
        lines = bundle.lines_by_identity(bundle.encode(SMALL).files())
        assert lines == {
            bundle.identity_of(record): bundle.encode_record(record) for record in SMALL.records()
        }

    def test_keep_kinds_of_a_newer_version(self) -> None:
        line = b'{"id":"shop/x","kind":"quota"}'
        assert bundle.lines_by_identity(with_line(line))["quota shop/x"] == line

    @pytest.mark.parametrize("line", [b"[]", b"{}", b"{"], ids=["list", "nameless", "cut"])
    def test_are_refused_without_a_name(self, line: bytes) -> None:
        with pytest.raises(BundleError, match="a record of the bundle is not valid"):
            bundle.lines_by_identity(with_line(line))


def with_line(line: bytes) -> dict[str, bytes]:
    """A sound bundle of SMALL with one more line."""
    shard = bundle.encode(SMALL).shards[0] + line + b"\n"
    shards = [{"name": "shard-0.jsonl", "sha256": digest(shard), "records": shard.count(b"\n")}]
    body = {"schema_version": "1.0", "namespace": "shop", "shards": shards}
    index = canonical(body | {"digest": digest(canonical(body))})
    return {INDEX_FILE: index, "shard-0.jsonl": shard}
