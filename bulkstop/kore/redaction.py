"""What no answer may repeat: a secret, in whatever form a server, a proxy or a library writes it."""

import base64
import json
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

import orjson

from bulkstop.kore.interpret import TEXT_CHARS, Answer

MASK = "[masked]"
SECRET_CHARS = 4
"""Shorter than this a secret is none, and masking it would tear every line apart."""

_BASE64_CHARS = 8  # of a shorter secret what is left between other bytes would be found everywhere
_JWT = "eyJ"  # how the base64 of a JSON object begins
_JWT_SENT = _JWT.encode()
_RUN = re.compile(r"[A-Za-z0-9_.-]{20,}")  # no JWT is shorter
_ESCAPE = re.compile(rb"\\(?:u00([2-7][0-9a-fA-F])|(.))", re.DOTALL)
_WORDS = 16 * TEXT_CHARS  # more of a text that is no JSON is read by nobody
_LEVELS = 16  # nor what lies deeper in one that is
_KEPT = 64


@lru_cache(maxsize=_KEPT)
def forms(secret: str) -> tuple[str, ...]:
    """Give a secret as it may stand in a text, the longest form first; none for one that is too short to be masked."""
    word = secret.strip()
    if len(word) < SECRET_CHARS:
        return ()
    percent = quote(word, safe="")
    escaped = json.dumps(word)[1:-1]
    quoted = {repr(word)[1:-1], escaped, escaped.replace("/", "\\/")}
    quoted |= {form.replace("\\", "\\\\") for form in quoted}  # a repr of a repr
    found = {secret, word, percent, quote(word), *quoted}
    found.add(re.sub("%..", lambda code: code[0].lower(), percent))
    found |= _in_base64(word.encode(errors="replace"))
    return tuple(sorted(found, key=len, reverse=True))


def passwords(url: str) -> list[str]:
    """Give what is secret in an address, as it stands there and as it is sent."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    word = parts.password
    return [word, unquote(word), f"{unquote(parts.username or '')}:{unquote(word)}"] if word else []


def without_jwts(text: str) -> str:
    """Mask whatever looks like a JWT, whoever may own it."""
    return _RUN.sub(_jwt_masked, text) if _JWT in text else text


def masked(answer: Answer, secrets: tuple[str, ...]) -> Answer:
    """Mask in an answer what must not be repeated: these secrets, and whatever looks like a JWT."""
    body = answer.body
    if answer.location is None and len(body) < _shortest(secrets) and b"\\" not in body and _JWT_SENT not in body:
        return answer  # too short to hold a token, as the answer to a stop is
    known = _forms_sent(secrets)
    body = _without(body, known)
    if b"\\" in body:
        body = _without_hidden(body, known)
    if body is not answer.body:
        answer = answer._replace(body=body)
    if answer.location is not None:
        place = _without(answer.location.encode(errors="replace"), known)
        answer = answer._replace(location=place.decode(errors="replace"))
    return answer


@lru_cache(maxsize=_KEPT)
def _shortest(secrets: tuple[str, ...]) -> int:
    """Give the length of the shortest form of these secrets; a body that is shorter holds none of them."""
    return min(map(len, _forms_sent(secrets)), default=sys.maxsize)


@lru_cache(maxsize=_KEPT)
def _forms_sent(secrets: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(form.encode(errors="replace") for secret in secrets for form in forms(secret))


def _without(text: bytes, known: Sequence[bytes]) -> bytes:
    for form in known:
        if form in text:
            text = text.replace(form, MASK.encode())
    if _JWT_SENT in text:
        shown = text.decode(errors="surrogateescape")
        clean = without_jwts(shown)
        return text if clean == shown else clean.encode(errors="surrogateescape")
    return text


def _without_hidden(body: bytes, known: Sequence[bytes]) -> bytes:
    """Mask also what is hidden behind escapes, which a reader of JSON takes away."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _without(_ESCAPE.sub(_unescaped, body[:_WORDS]), known) + body[_WORDS:]
    return orjson.dumps(_said(said, known, _LEVELS))


def _said(value: object, known: Sequence[bytes], levels: int) -> object:
    """Mask the texts of a JSON value, down to where anybody reads them."""
    if isinstance(value, str):
        return _without(value.encode(), known).decode()
    if not isinstance(value, list | dict):
        return value
    if not levels:
        return None
    if isinstance(value, list):
        return [_said(each, known, levels - 1) for each in value]
    return {str(_said(key, known, 1)): _said(each, known, levels - 1) for key, each in value.items()}


def _unescaped(found: re.Match[bytes]) -> bytes:
    char = bytes([int(found[1], 16)]) if found[1] else found[2]
    return char if found[1] or char == b"/" else found[0]


def _in_base64(data: bytes) -> set[str]:
    """Give what becomes of some bytes in base64, alone and wherever they stand among others."""
    found = {base64.b64encode(data).decode()}
    if len(data) < _BASE64_CHARS:
        return found
    for before, touched in ((b"", 0), (b"\0", 2), (b"\0\0", 3)):
        whole = before + data
        for text in (base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
            found.add(text.decode()[touched : 8 * len(whole) // 6])
    return found


def _jwt_masked(found: re.Match[str]) -> str:
    """Mask from the beginning of a token on; a run of such characters is looked through once, however long it is."""
    text = found[0]
    at = text.find(_JWT)
    return text[:at] + MASK if at >= 0 and "." in text[at:] else text
