"""What an ApiKey's list of URLs allows, and how a URL is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_sidecar.overflow.webhooks.urls import BadUrl, allows, parse_url


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("https://hooks.example/*", "https://hooks.example/"),
        ("https://hooks.example/*", "https://hooks.example"),
        ("https://hooks.example/*", "HTTPS://Hooks.Example:443/a/b?x=1&y=/"),
        ("https://hooks.example/done", "https://hooks.example/done"),
        ("https://hooks.example:8443/*", "https://hooks.example:8443/a"),
        ("https://*.hooks.example/*", "https://a.hooks.example/"),
        ("https://*.hooks.example/*", "https://a.b.hooks.example/"),
        ("https://hooks.example/a/*/done", "https://hooks.example/a/1/2/done"),
        ("https://hooks.example/*a*b*c", "https://hooks.example/xaabbcc"),
        ("http://[fd00::1]:80/*", "http://[FD00:0::1]/x"),
        ("http://hooks.example/%7Ea/*", "http://hooks.example/%7Ea/b"),
    ],
)
def test_allowed(pattern: str, url: str) -> None:
    assert allows(("https://other.example/*", pattern), parse_url(url))


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("https://hooks.example/*", "http://hooks.example/"),
        ("https://hooks.example/*", "https://hooks.example:444/"),
        ("https://hooks.example/*", "https://evil.example/"),
        ("https://hooks.example/*", "https://hooks.example.evil.example/"),
        ("https://hooks.example/*", "https://evilhooks.example/"),
        ("https://*.hooks.example/*", "https://hooks.example/"),
        ("https://*.hooks.example/*", "https://evilhooks.example/"),
        ("https://hooks.example/done", "https://hooks.example/done/"),
        ("https://hooks.example/done", "https://hooks.example/done?x=1"),
        ("https://hooks.example/a*/done", "https://hooks.example/admin?/done"),
        ("https://hooks.example/a/*", "https://hooks.example/b"),
        ("https://hooks.example/A/*", "https://hooks.example/a/x"),
        ("https://hooks.example/ab*ba", "https://hooks.example/aba"),
        ("not a url", "https://hooks.example/"),
    ],
)
def test_not_allowed(pattern: str, url: str) -> None:
    assert not allows((pattern,), parse_url(url))


def test_no_pattern_takes_long_over_a_long_path() -> None:
    """A look back for each star would take years here."""
    long = parse_url(f"https://hooks.example/{'ab' * 1000}")
    assert not allows(("https://hooks.example/*a*b*a*c",), long)


@given(st.text(max_size=60))
def test_whatever_is_read_is_asked_for_as_it_was_written(rest: str) -> None:
    try:
        url = parse_url(f"https://hooks.example/{rest}")
    except BadUrl:
        return
    assert (url.scheme, url.host, url.port) == ("https", "hooks.example", 443)
    assert url.target.decode() == f"/{rest}"
    assert not set(url.target) & {*range(0x21), 0x7F}


@given(st.text(alphabet="htps:/.@#?\\[]0123456789abfx%-", max_size=40))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        url = parse_url(text)
    except BadUrl:
        return
    assert text.lower().startswith(f"{url.scheme}://")
