"""Any Config survives being written and read, whatever its text holds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from runestone_contract import bundle, config

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
COUNT = st.integers(0, 2**53)


def tuples(part: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(part, max_size=2).map(tuple)


def maybe(part: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | part


PRICES = st.builds(config.Prices, input=COUNT, output=COUNT, cached_input=maybe(COUNT))
MODELS = st.builds(
    config.Model,
    name=TEXT,
    upstream=TEXT,
    capabilities=tuples(TEXT),
    context_window=maybe(COUNT),
    prices=maybe(PRICES),
)
PROVIDERS = st.builds(
    config.Provider,
    name=TEXT,
    dialect=TEXT,
    base_url=TEXT,
    credentials=tuples(TEXT),
    unavailable=maybe(TEXT),
    priority=COUNT,
    headers=tuples(st.tuples(TEXT, TEXT)),
    models=tuples(MODELS),
    timeouts=st.builds(
        config.Timeouts, connect_ms=COUNT, total_ms=COUNT, first_byte_unstreamed_ms=maybe(COUNT)
    ),
    circuit_breaker=st.builds(config.CircuitBreaker, failure_threshold=COUNT, window_ms=COUNT),
    health_check=st.builds(config.HealthCheck, mode=TEXT, interval_ms=COUNT),
    tls=st.builds(config.Tls, ca=maybe(TEXT), verify=st.booleans()),
)
POOLS = st.builds(config.Pool, id=TEXT, strategy=TEXT, providers=tuples(PROVIDERS))
HASHES = st.builds(config.KeyHash, sha256=TEXT, not_after_s=maybe(COUNT))
LIMITS = st.builds(
    config.Limits,
    requests_per_minute=maybe(COUNT),
    tokens_per_minute=maybe(COUNT),
    budget=maybe(st.builds(config.Budget, picodollars=st.integers(0, 10**21), period=TEXT)),
)
KEYS = st.builds(
    config.Key,
    id=TEXT,
    tenant=TEXT,
    hashes=tuples(HASHES),
    enabled=st.booleans(),
    expires_at_s=maybe(COUNT),
    allowed_models=tuples(TEXT),
    policy=maybe(TEXT),
    limits=LIMITS,
)
TARGETS = st.builds(
    config.Target, pool=TEXT, provider=maybe(TEXT), model=maybe(TEXT), weight=maybe(COUNT)
)
MATCHES = st.builds(config.Match, models=tuples(TEXT), headers=tuples(st.tuples(TEXT, TEXT)))
RULES = st.builds(
    config.Rule, name=TEXT, match=MATCHES, targets=tuples(TARGETS), timeout_ms=maybe(COUNT)
)
POLICIES = st.builds(
    config.Policy,
    id=TEXT,
    default=st.booleans(),
    rules=tuples(RULES),
    aliases=st.dictionaries(TEXT, TEXT, max_size=2),
    partial=st.booleans(),
)


def records(part: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    """In the order that a bundle of one shard keeps them in."""
    unique = st.lists(part, max_size=3, unique_by=lambda record: record.id)  # type: ignore[attr-defined]
    return unique.map(lambda found: tuple(sorted(found, key=bundle.identity_of)))  # type: ignore[arg-type]


CONFIGS = st.builds(
    config.Config,
    namespace=TEXT,
    pools=records(POOLS),
    keys=records(KEYS),
    policies=records(POLICIES),
)


@settings(max_examples=200)
@given(CONFIGS)
def test_what_is_written_is_read_back(whole: config.Config) -> None:
    written = bundle.encode(whole)
    assert bundle.decode(written.files()) == whole
    assert bundle.encode(bundle.decode(written.files())) == written
    assert set(bundle.lines_by_identity(written.files())) == {
        bundle.identity_of(record) for record in whole.records()
    }


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_refused(line: bytes) -> None:
    try:
        bundle.decode_record(line)
    except bundle.BundleError:
        return
