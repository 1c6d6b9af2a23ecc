"""Forms of names and URLs: no input takes long to turn down, and no host is read in two ways."""

import contextlib
import ipaddress
import itertools
import socket
import time
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from runestone_operator.api import names, pipeline, scalars, selector, urls
from runestone_operator.api.forms import Form, Scalar

MODULES = (names, pipeline, scalars, selector, urls)


def forms() -> dict[str, Form]:
    found: dict[str, Form] = {}
    for module in MODULES:
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, Scalar) and value is not Scalar:
                found[name] = value.form
            for part in _annotations(value):
                if isinstance(part, Form):
                    found[name] = part
    return found


def _annotations(value: Any) -> tuple[Any, ...]:
    return get_args(value)[1:] if isinstance(value, type(Annotated[str, 0])) else ()


FORMS = forms()
BAITS = ("a", "a-", "a.", "-", "*", "*a", "**", "0", "1h", "0:", "ffff:", "%", "/", "a/", " ", "[")
STARTS = ("", "a", "http://", "https://a/", "http://[", "http://169.254.")


def test_the_forms_are_found() -> None:
    assert {"ItemName", "Glob", "BaseUrl", "WebhookUrlGlob", "PoolRef", "Quantity"} <= set(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_no_input_takes_long(name: str) -> None:
    form = FORMS[name]
    started_s = time.process_time()
    for start, bait, end in itertools.product(STARTS, BAITS, ("", "!", "\n")):
        text = (start + bait * form.max_length)[: form.max_length - 1] + end
        try:
            form.check(text)
        except PydanticCustomError:
            continue
    # Some ten milliseconds; what backtracks without bounds takes hours.
    assert time.process_time() - started_s < 5


BASE_URL: TypeAdapter[str] = TypeAdapter(urls.BaseUrl)
PIECES = ["a", "B", "0", "127", "0x7f", ".", "-", ":80", ":", "@", "[::1]", "[", "]", "/", "#", "?"]
PIECES += ["\\", "%2e", "%40", "/a", " ", "\n", "user", "localhost"]


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(
    scheme=st.sampled_from(["http", "https"]),
    rest=st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
)
def test_an_accepted_url_has_one_reading(scheme: str, rest: str) -> None:
    text = f"{scheme}://{rest}"
    try:
        BASE_URL.validate_python(text)
    except ValidationError:
        assume(False)
    parts = urlsplit(text)
    assert parts.scheme == scheme
    assert parts.hostname
    assert text.startswith(f"{scheme}://{parts.netloc}")
    assert (parts.username, parts.password, parts.query, parts.fragment) == (None, None, "", "")


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.1", "127.1", "017700000001", "0251.0376.0251.0376", "1.2.3"],
)
def test_an_address_has_one_spelling(host: str) -> None:
    assert socket.inet_aton(host)  # the C library would take it for an address
    with pytest.raises(ValidationError):
        BASE_URL.validate_python(f"http://{host}/v1")


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("::", True),
        ("::1", True),
        ("fd00::a:1", True),
        ("1:2:3:4:5:6:7:8", True),
        ("1::3:4:5:6:7:8", True),
        ("1:2:3:4:5:6:7::", True),
        ("::2:3:4:5:6:7:8", True),
        ("aa", False),
        (":", False),
        (":::", False),
        ("1::2::3", False),
        ("1:2:3:4:5:6:7", False),
        ("1:2:3:4:5:6:7:8:9", False),
        ("1::2:3:4:5:6:7:8", False),
        ("12345::", False),
    ],
    ids=str,
)
def test_in_brackets_is_an_ipv6_address(host: str, is_one: bool) -> None:
    with contextlib.nullcontext() if is_one else pytest.raises(ValidationError):
        BASE_URL.validate_python(f"http://[{host}]:8000/v1")
    with contextlib.nullcontext() if is_one else pytest.raises(ipaddress.AddressValueError):
        ipaddress.IPv6Address(host)
