import re

from runestone_contract import names


def test_each_shard_has_a_file_and_an_object_of_its_own() -> None:
    files = {names.shard_file(number) for number in range(names.MAX_SHARDS)}
    objects = {names.shard_config_map(number) for number in range(names.MAX_SHARDS)}
    assert len(files | {names.INDEX_FILE}) == names.MAX_SHARDS + 1
    assert len(objects | {names.CONFIG_MAP}) == names.MAX_SHARDS + 1
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]+", name) for name in files), "keys of a ConfigMap"
    assert all(re.fullmatch(r"[a-z0-9-]{1,63}", name) for name in objects)
