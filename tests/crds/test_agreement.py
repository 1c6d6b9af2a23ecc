"""Whatever the document, the API server and the models agree on whether it is valid.

The rules exist as CEL for one and as Python for the other: this looks for strings that a regular
expression, a URL, a time or a number means differently to the two.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runestone_operator.api.load import Rejected, parse
from runestone_operator.api.resource import API_VERSION
from runestone_testing.custom_resources import CustomResources

PIECES = [
    "a",
    "Z",
    "0",
    "9",
    "5",
    ".",
    "-",
    "_",
    "/",
    ":",
    "@",
    "*",
    "?",
    "%",
    "#",
    "[",
    "]",
    "(",
    "$",
    "+",
    "h",
    "m",
    "s",
    "ms",
    "Mi",
    "k",
    "::",
    "[::1]",
    "25",
    "1",
    "T",
    "Z",
    "é",
    "١",
    "𝕏",
]
PIECES += ["kubernetes", "169.254.1.1", "metadata", "%2f", "\\", " ", "\n", "\t", "\x7f", "'"]
WORDS = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
URLS = st.tuples(
    st.sampled_from(["http://", "https://", "HTTP://", "//"]),
    WORDS,
    st.sampled_from(["", "/", ":80", ":080", ":65536", "/v1", "/*", "?a", "#a", "@a"]),
).map("".join)
DURATIONS = st.lists(
    st.sampled_from(["1", "0", "90", "99999", "1.5", "-1", "h", "m", "s", "ms", "us"]), max_size=6
).map("".join)
AMOUNTS = st.tuples(
    st.sampled_from(["0", "1", "1.5", "1.50", "01", "1.", ".5", "1e1", "999999999.999999"]),
    st.sampled_from(["", "0", "1", "-"]),
).map("".join)
TIMES = st.tuples(
    st.sampled_from(["2027-02-28", "2027-02-29", "2028-02-29", "2027-1-1", "0000-01-01", "2027"]),
    st.sampled_from(["T", "t", " ", ""]),
    st.sampled_from(["00:00:00", "23:59:59", "23:59:60", "24:00:00", "00:00", ""]),
    st.sampled_from(["", ".5", ".123456789", ".", ",5"]),
    st.sampled_from(["Z", "z", "+01:00", "+25:00", "-00:00", "+0100", ""]),
).map("".join)


def provider(fields: dict[str, Any]) -> dict[str, Any]:
    basics = {"name": "a", "type": "OpenAI", "baseURL": "http://a", "models": [{"name": "m"}]}
    return {"providers": [basics | fields]}


def costs(prices: dict[str, str]) -> dict[str, Any]:
    return provider({"models": [{"name": "m", "cost": prices}]})


POOLS = st.one_of(
    st.fixed_dictionaries({"baseURL": URLS}).map(provider),
    st.fixed_dictionaries({"name": WORDS}).map(provider),
    st.fixed_dictionaries({"headers": st.dictionaries(WORDS, WORDS, max_size=2)}).map(provider),
    st.fixed_dictionaries(
        {"timeouts": st.fixed_dictionaries({"connect": DURATIONS, "total": DURATIONS})}
    ).map(provider),
    st.fixed_dictionaries({"inputPerMillion": AMOUNTS, "cachedInputPerMillion": AMOUNTS}).map(
        costs
    ),
    st.dictionaries(WORDS, WORDS, max_size=2).map(
        lambda labels: {
            **provider({}),
            "sharing": {"namespaces": "Selector", "selector": {"matchLabels": labels}},
        }
    ),
)
KEYS = st.fixed_dictionaries(
    {"tenant": st.just("t")},
    optional={
        "displayName": WORDS,
        "allowedModels": st.lists(WORDS, max_size=3),
        "expiresAt": TIMES,
        "rotation": st.fixed_dictionaries({"interval": DURATIONS, "overlap": DURATIONS}),
        "overflow": URLS.map(
            lambda url: {"webhooks": {"allowedURLs": [url], "secretRef": {"name": "s", "key": "k"}}}
        ),
    },
)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "aliases": st.dictionaries(WORDS, WORDS, max_size=3),
        "cache": st.fixed_dictionaries({"maxBytes": WORDS, "ttl": DURATIONS}),
        "pipeline": st.lists(st.fixed_dictionaries({"name": WORDS | st.just("Log")}), max_size=2),
        "rules": st.fixed_dictionaries({"pool": WORDS}).map(
            lambda target: [{"name": "r", "targets": [target]}]
        ),
    },
)
SPECS = st.one_of(
    st.tuples(st.just("ProviderPool"), POOLS),
    st.tuples(st.just("ApiKey"), KEYS),
    st.tuples(st.just("RoutingPolicy"), POLICIES),
)


@pytest.mark.kube
@settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=SPECS)
def test_both_agree(case: tuple[str, dict[str, Any]], api: CustomResources) -> None:
    kind, spec = case
    document = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "n"}, "spec": spec}
    verdict = api.try_create(document)
    parsed = parse(document)
    problems = [str(error) for error in parsed.errors] if isinstance(parsed, Rejected) else []
    assert (verdict.code == 201) == (not problems), (verdict.body.get("message"), problems)
