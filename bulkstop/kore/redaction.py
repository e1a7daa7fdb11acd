"""What no answer may repeat: a secret, in whatever form a server, a proxy or a library writes it."""

import re
import sys
from collections.abc import Sequence
from functools import lru_cache

import orjson

from bulkstop.kore.exchange import Response
from bulkstop.redact import CACHED_SECRETS, JWT_START, MASK, encodings, mask_jwts
from bulkstop.text import TEXT_CHARS

_JWT_SENT = JWT_START.encode()
_ESCAPE = re.compile(rb"\\(?:u00([2-7][0-9a-fA-F])|(.))", re.DOTALL)
_WORDS = 16 * TEXT_CHARS  # more of a text that is no JSON is read by nobody
_LEVELS = 16  # nor what lies deeper in one that is


def redact_response(response: Response, secrets: tuple[str, ...]) -> Response:
    """Mask in an answer what must not be repeated: these secrets, and whatever looks like a JWT."""
    body = response.body
    if response.location is None and len(body) < _shortest(secrets) and b"\\" not in body and _JWT_SENT not in body:
        return response  # too short to hold a token, as the answer to a stop is
    known = _encodings_sent(secrets)
    body = _mask(body, known)
    if b"\\" in body:
        body = _mask_escaped(body, known)
    if body is not response.body:
        response = response._replace(body=body)
    if response.location is not None:
        place = _mask(response.location.encode(errors="replace"), known)
        response = response._replace(location=place.decode(errors="replace"))
    return response


@lru_cache(maxsize=CACHED_SECRETS)
def _shortest(secrets: tuple[str, ...]) -> int:
    """Return the length of the shortest form of these secrets; a body that is shorter holds none of them."""
    return min(map(len, _encodings_sent(secrets)), default=sys.maxsize)


@lru_cache(maxsize=CACHED_SECRETS)
def _encodings_sent(secrets: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(form.encode(errors="replace") for secret in secrets for form in encodings(secret))


def _mask(text: bytes, known: Sequence[bytes]) -> bytes:
    for form in known:
        if form in text:
            text = text.replace(form, MASK.encode())
    if _JWT_SENT in text:
        message = text.decode(errors="surrogateescape")
        clean = mask_jwts(message)
        return text if clean == message else clean.encode(errors="surrogateescape")
    return text


def _mask_escaped(body: bytes, known: Sequence[bytes]) -> bytes:
    """Mask also what is hidden behind escapes, which a reader of JSON takes away."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _mask(_ESCAPE.sub(_unescape, body[:_WORDS]), known) + body[_WORDS:]
    return orjson.dumps(_mask_json(answer, known, _LEVELS))


def _mask_json(value: object, known: Sequence[bytes], levels: int) -> object:
    """Mask the texts of a JSON value, down to where anybody reads them."""
    if isinstance(value, str):
        return _mask(value.encode(), known).decode()
    if not isinstance(value, list | dict):
        return value
    if not levels:
        return None
    if isinstance(value, list):
        return [_mask_json(each, known, levels - 1) for each in value]
    return {str(_mask_json(key, known, 1)): _mask_json(each, known, levels - 1) for key, each in value.items()}


def _unescape(match: re.Match[bytes]) -> bytes:
    char = bytes([int(match[1], 16)]) if match[1] else match[2]
    return char if match[1] or char == b"/" else match[0]
