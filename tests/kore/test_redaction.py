"""Secrets in responses are masked, in any encoding."""

import base64
import json
import re
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.kore.exchange import Response
from bulkstop.kore.interpret import interpret
from bulkstop.kore.redaction import redact_response
from bulkstop.redact import MASK, encodings, find_passwords

SECRET = 'Zk3+planted/Qw7=Tx9~Vb2&"Rn5\\Lm8'
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2VjcmV0LXNlY3JldC1zZWNyZXQ"
visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=60)


def words_of(body: bytes, *secrets: str) -> str:
    """Return the words of an answer as a result line would have them."""
    return interpret(redact_response(Response(400, body, 1.0), secrets)).message or ""


@pytest.mark.parametrize("shift", range(3))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_wherever_it_begins(encode: type, shift: int) -> None:
    """A secret among other bytes is masked in their base64, wherever in it the secret begins."""
    text = encode(b"x" * shift + SECRET.encode() + b"yz")
    shown = words_of(text, SECRET)
    assert MASK in shown
    assert len(shown) < len(MASK) + 12


@pytest.mark.parametrize(
    "body",
    [
        SECRET.encode(),
        json.dumps({"message": SECRET}).encode(),
        json.dumps({"message": SECRET}).replace("/", "\\/").encode(),
        json.dumps({"message": json.dumps(SECRET)}).encode(),
        json.dumps({"message": repr({"auth": SECRET})}).encode(),
        json.dumps({"errors": [{"msg": f"<{quote(SECRET, safe='')}>"}]}).encode(),
        b'{"message":"' + "".join(f"\\u{ord(char):04X}" for char in SECRET).encode() + b'"}',
        b'not JSON: "' + "".join(f"\\u{ord(char):04x}" for char in SECRET).encode() + b'"',
        json.dumps([SECRET]).encode(),
        re.sub("%..", lambda code: code[0].lower(), f"https://h/?auth={quote(SECRET, safe='')}").encode(),
    ],
)
def test_any_shape(body: bytes) -> None:
    """No part of a secret remains in any shape of response."""
    shown = words_of(body, SECRET)
    assert MASK in shown
    assert not any(part in shown.lower() for part in ("zk3", "planted", "qw7", "tx9", "lm8"))


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        (SECRET, SECRET[:20]),
        (SECRET, SECRET[-20:]),
        (SECRET, f"{SECRET[:18]}\n{SECRET[18:]}"),
        (SECRET, quote(SECRET, safe="")[:24]),
        (JWT, JWT.rpartition(".")[2]),
        (JWT, JWT.rpartition(".")[2][:16]),
        (JWT, JWT[-16:]),
        (JWT, JWT.split(".")[1]),
        (JWT, f"{JWT[:50]}\r\n {JWT[50:]}"),
    ],
)
@pytest.mark.parametrize("escape", [False, True])
def test_part_of_a_token(secret: str, part: str, escape: bool) -> None:
    """Nothing remains of a token that a server cuts off, breaks or splits, even in a short response."""
    body = json.dumps({"message": part})
    if escape:
        body = body.replace(part[3], f"\\u{ord(part[3]):04x}")
    shown = words_of(body.encode(), secret)
    assert MASK in shown
    assert shown.replace(MASK, "").strip() == ""


@given(visible, st.text(max_size=20), st.booleans())
def test_any_secret(secret: str, around: str, ascii_only: bool) -> None:
    """For any secret, a message that contains it is shown without it."""
    message = f"{around}{secret}{around}"
    body = json.dumps({"message": message}, ensure_ascii=ascii_only).encode(errors="replace")
    if secret not in MASK and secret not in around:
        assert secret not in words_of(body, secret)


@given(st.binary(max_size=200), visible)
def test_any_body(body: bytes, secret: str) -> None:
    """Masking takes any body, and leaves one alone that has neither a secret nor an escape."""
    redacted = redact_response(Response(200, body, 1.0), (secret,)).body
    if b"\\" not in body and b"eyJ" not in body and not any(form.encode() in body for form in encodings(secret)):
        assert redacted is body


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists))
def test_meaning_is_kept(value: object) -> None:
    """Redaction does not change the meaning of a response."""
    body = orjson.dumps({"escaped": "\\", "data": value})
    if b"eyJ" not in body:
        assert orjson.loads(redact_response(Response(200, body, 1.0), ("a secret",)).body) == orjson.loads(body)


def test_the_tokens_of_others() -> None:
    """Any text that looks like a JWT is masked, even an unknown one; so is one in a redirect."""
    assert JWT not in words_of(f"not yours: {JWT}!".encode())
    answer = Response(307, b"", 1.0, location=f"https://h/?a={JWT}&b={quote(SECRET)}")
    assert redact_response(answer, (SECRET,)).location == f"https://h/?a={MASK}&b={MASK}"


def test_rate_limit_is_masked() -> None:
    """A header of a limit may have a name in it, and that a secret."""
    answer = Response(200, b"", 1.0, rate_limit=(("ratelimit", f'"{SECRET}";r=3'),))
    assert redact_response(answer, (SECRET,)).rate_limit == (("ratelimit", f'"{MASK}";r=3'),)


def test_nothing_too_short_is_masked() -> None:
    """A word of three letters is not a secret."""
    assert encodings("abc") == ()


def test_an_answer_nested_deeply() -> None:
    """An answer that is nested deeply is looked through as far as anybody reads, and costs no stack."""
    body = b'{"message":"\\\\x","data":' + b"[" * 900 + b"]" * 900 + b"}"
    assert words_of(body) == "\\x"


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("http://proxy:3128", []),
        ("http://user:p%40ss@proxy:3128", ["p%40ss", "p@ss", "user:p@ss"]),
        ("http://[", ["http://["]),
    ],
)
def test_passwords(url: str, redacted: list[str]) -> None:
    """The password of a URL is masked as written and as sent; an unreadable URL is wholly secret."""
    assert find_passwords(url) == redacted
