"""Signatures, held against the standard's own library."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from runestone_sidecar.overflow.webhooks.signing import BadSecret, parse_secrets, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBk"  # 26 bytes, without padding
BODY = '{"type":"job.succeeded","data":{"text":"ä"}}'.encode()


def signed(text: str, at_s: float, body: bytes = BODY) -> dict[str, str]:
    at_s = int(at_s)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at_s),
        "webhook-signature": signature(parse_secrets(text), "msg_1", at_s, body),
    }


@pytest.mark.parametrize("text", [SECRET, f"{SECRET}\n", OTHER, f"{SECRET} {OTHER}"])
def test_the_standards_library_takes_it(text: str) -> None:
    for secret in text.split():
        assert Webhook(secret).verify(BODY, signed(text, time.time()))["type"] == "job.succeeded"


def test_G6_another_body_another_secret_another_time_are_refused() -> None:
    now = time.time()
    for headers, body in (
        (signed(SECRET, now), BODY.replace(b"succeeded", b"failed")),
        (signed(OTHER, now), BODY),
        (signed(SECRET, now - 3600), BODY),
        (signed(SECRET, now) | {"webhook-id": "msg_2"}, BODY),
        (signed(SECRET, now) | {"webhook-timestamp": str(int(now) + 1)}, BODY),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body, headers)


@pytest.mark.parametrize(
    "text",
    [
        *("", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64", "whsk_" + "A" * 44),
        *(f"{SECRET} short", "whsec_" + "ä" * 40, SECRET[6:]),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
    ],
)
def test_what_is_not_in_its_form_is_no_secret(text: str) -> None:
    with pytest.raises(BadSecret):
        parse_secrets(text)
