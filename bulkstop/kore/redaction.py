"""Secrets are masked in responses, in whatever form a server, a proxy or a library writes them."""

import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import orjson

from bulkstop.kore.body import parse_json
from bulkstop.kore.exchange import Response
from bulkstop.redact import CACHED_SECRETS, JWT_START, MASK, cut_forms, encodings, mask_cut, mask_jwts, needles
from bulkstop.text import TEXT_CHARS

_JWT_SENT = JWT_START.encode()
_ESCAPE_SENT = b"\\"
_ESCAPE = re.compile(rb"\\(?:u00([2-7][0-9a-fA-F])|(.))", re.DOTALL)
_WORDS = 16 * TEXT_CHARS  # no reader uses more of a text that is not JSON
_LEVELS = 16  # and none reads deeper values of JSON


def redact_response(response: Response, secrets: tuple[str, ...]) -> Response:
    """Mask these secrets, and whatever looks like a JWT, in a response."""
    body, known = response.body, _known(secrets)
    if response.rate_limit:
        response = response._replace(
            rate_limit=tuple((name, _mask_text(value, known)) for name, value in response.rate_limit)
        )
    if response.location is None and not (
        known.find_sign(body) if len(body) < known.shortest else known.may_be_in(body)
    ):
        return response
    body = _mask_whole(body, known)
    if _ESCAPE_SENT in body:  # before parts are masked: otherwise fragments of a form with an escape would be left
        body = _mask_escaped(body, known)
    body = _mask_parts(body, known)
    if body is not response.body:
        response = response._replace(body=body)
    if response.location is not None:
        response = response._replace(location=_mask_text(response.location, known))
    return response


class _Known(NamedTuple):
    """Secrets as they may be sent: `whole` in all their forms, `cut` as parts that may be cut off or broken.

    Every body that needs a closer look contains one of `signs`, or one of the forms in `signless`, the shortest of
    which has `shortest` bytes.
    """

    whole: tuple[bytes, ...]
    cut: tuple[str, ...]
    signs: tuple[bytes, ...]
    find_sign: Callable[[bytes], object]
    signless: tuple[bytes, ...]
    shortest: int

    def may_be_in(self, body: bytes) -> bool:
        """Return whether a body, long enough for all forms, needs a closer look."""
        for sign in self.signs:  # faster here than the pattern, which is faster in a short body
            if sign in body:
                return True
        for form in self.signless:  # noqa: SIM110 - a generator would take half as long again
            if form in body:
                return True
        return False


@lru_cache(maxsize=CACHED_SECRETS)
def _known(secrets: tuple[str, ...]) -> _Known:
    whole = tuple(form.encode(errors="replace") for secret in secrets for form in encodings(secret))
    cut = tuple(form for secret in secrets for form in cut_forms(secret))
    ends = (end.encode(errors="replace") for end in needles(cut))
    signs = (_ESCAPE_SENT, _JWT_SENT, *(end for end in ends if _JWT_SENT not in end))
    find_sign = re.compile(b"|".join(map(re.escape, signs))).search
    signless = [form for form in whole if not any(sign in form for sign in signs)]
    signless = [form for form in signless if not any(other in form for other in signless if other != form)]
    return _Known(whole, cut, signs, find_sign, tuple(signless), min(map(len, signless), default=sys.maxsize))


def _mask_text(text: str, known: _Known) -> str:
    return _mask(text.encode(errors="replace"), known).decode(errors="replace")


def _mask(text: bytes, known: _Known) -> bytes:
    return _mask_parts(_mask_whole(text, known), known)


def _mask_whole(text: bytes, known: _Known) -> bytes:
    for form in known.whole:
        if form in text:
            text = text.replace(form, MASK.encode())
    return text


def _mask_parts(text: bytes, known: _Known) -> bytes:
    """Also mask parts that are cut off or broken, and whatever looks like a JWT."""
    if any(sign in text for sign in known.signs[1:]):  # an escape is not a sign of a cut secret
        text = mask_cut(text.decode(errors="surrogateescape"), known.cut).encode(errors="surrogateescape")
    if _JWT_SENT in text:
        message = text.decode(errors="surrogateescape")
        clean = mask_jwts(message)
        return text if clean == message else clean.encode(errors="surrogateescape")
    return text


def _mask_escaped(body: bytes, known: _Known) -> bytes:
    """Also mask what is hidden by escapes, which a JSON parser removes."""
    try:
        answer = parse_json(body)
    except orjson.JSONDecodeError:
        return _mask(_ESCAPE.sub(_unescape, body[:_WORDS]), known) + body[_WORDS:]
    return orjson.dumps(_mask_json(answer, known, _LEVELS))


def _mask_json(value: object, known: _Known, levels: int) -> object:
    """Mask the texts of a JSON value, down to the depth that is read."""
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
