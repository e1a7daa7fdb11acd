"""What must not be shown is masked wherever it occurs."""

import base64
import json
import re
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

MASK = "[masked]"
SECRET_CHARS = 4
"""Shorter than this a secret is none, and masking it would tear every line apart."""

_BASE64_CHARS = 8  # of a shorter secret what is left between other bytes would be found everywhere
JWT_START = "eyJ"  # how the base64 of a JSON object begins
_RUN = re.compile(r"[A-Za-z0-9_.-]{20,}")  # no JWT is shorter
CACHED_SECRETS = 64

_LINE_CHARS = 20  # of a key in several lines, each line this long is a secret of its own


@lru_cache(maxsize=CACHED_SECRETS)
def encodings(secret: str) -> tuple[str, ...]:
    """Return a secret as it may stand in a text, longest form first; none for one that is too short to be masked."""
    word = secret.strip()
    if len(word) < SECRET_CHARS:
        return ()
    percent = quote(word, safe="")
    escaped = json.dumps(word)[1:-1]
    quoted = {repr(word)[1:-1], escaped, escaped.replace("/", "\\/")}
    quoted |= {form.replace("\\", "\\\\") for form in quoted}  # a repr of a repr
    forms = {secret, word, percent, quote(word), *quoted}
    forms.add(re.sub("%..", lambda code: code[0].lower(), percent))
    forms |= _in_base64(word.encode(errors="replace"))
    return tuple(sorted(forms, key=len, reverse=True))


def find_passwords(url: str) -> list[str]:
    """Return what is secret in an address, as it stands there and as it is sent."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    words = [value for pair in parts.query.split("&") for name, _, value in [pair.partition("=")] if "password" in name]
    forms = [form for word in (parts.password, *words) if word for form in dict.fromkeys((word, unquote(word)))]
    if parts.password:
        forms.append(f"{unquote(parts.username or '')}:{unquote(parts.password)}")
    return forms


def hide_password(url: str) -> str:
    """Return an address without the password in it."""
    before, at, place = url.rpartition("@")
    scheme, slashes, login = before.partition("://")
    user = login.partition(":")[0]
    return f"{scheme}{slashes}{user}{at}{place}" if at else url


def mask_jwts(text: str) -> str:
    """Mask whatever looks like a JWT, whoever may own it."""
    return _RUN.sub(_mask_jwt, text) if JWT_START in text else text


def _in_base64(data: bytes) -> set[str]:
    """Return what becomes of some bytes in base64, alone and wherever they stand among others."""
    forms = {base64.b64encode(data).decode()}
    if len(data) < _BASE64_CHARS:
        return forms
    for before, touched in ((b"", 0), (b"\0", 2), (b"\0\0", 3)):
        whole = before + data
        for text in (base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
            forms.add(text.decode()[touched : 8 * len(whole) // 6])
    return forms


def _mask_jwt(match: re.Match[str]) -> str:
    """Mask from the beginning of a token on; a run of such characters is looked through once, however long it is."""
    text = match[0]
    at = text.find(JWT_START)
    return text[:at] + MASK if at >= 0 and "." in text[at:] else text


class Redactor:
    """Masks in any text what was told to be secret, however it is escaped there, and whatever looks like a JWT."""

    def __init__(self, *secrets: str | None) -> None:
        self._known: set[str] = set()
        self._either: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str | None) -> None:
        """Mask this from now on."""
        # A JWT is masked by its looks, and single-use ones come by the thousand.
        if not secret or mask_jwts(secret) == MASK:
            return
        forms = _line_encodings(secret) - self._known
        if not forms:
            return
        self._known |= forms
        longest_first = sorted(self._known, key=len, reverse=True)
        self._either = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """Return a text without what is secret in it."""
        known = text if self._either is None else self._either.sub(MASK, text)
        return mask_jwts(known)


REDACTOR = Redactor()
"""What this process has learnt that no log may show."""


def _line_encodings(secret: str) -> set[str]:
    """Return a secret in all its forms; a key also line by line."""
    lines = (line.strip() for line in secret.splitlines())
    return set(encodings(secret)) | {line for line in lines if len(line) >= _LINE_CHARS}
