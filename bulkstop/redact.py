"""Secrets are masked wherever they occur in a text."""

import base64
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

MASK = "[masked]"
HIDDEN = "(hidden)"
"""Replaces a setting that may hold a secret in a manifest."""
SECRET_CHARS = 4
"""A shorter secret is not masked, as masking it would destroy every line."""

_BASE64_CHARS = 8  # the stable middle of a shorter secret's base64 would match everywhere
JWT_START = "eyJ"  # the start of a JSON object in base64
_RUN = re.compile(r"[A-Za-z0-9_.-]{20,}")  # every JWT is longer
CACHED_SECRETS = 64

CUT_CHARS = 16
"""A cut-off secret is masked if at least this much of it remains; a shorter part could be a company's name."""
_CLAIMS_CHARS = 12  # the shortest claims of a JWT: {"sub":""}
_NEEDLE_CHARS = CUT_CHARS  # the part to search for, before the match is extended
_GAP_CHARS = 40  # the most blanks inside a secret: a line break with its indentation
_CUT_FORMS = 256  # for all secrets together; the oldest ones are dropped

_PATH_CHARS = 8  # of the part after the host in a URL; a shorter one is not secret, and occurs in other texts
_LINE_CHARS = 20  # in a key of several lines, each line at least this long is masked by itself


@lru_cache(maxsize=CACHED_SECRETS)
def encodings(secret: str) -> tuple[str, ...]:
    """Return the forms in which a secret may occur in a text, the longest first; empty if it is too short to mask."""
    word = secret.strip()
    if len(word) < SECRET_CHARS:
        return ()
    percent = quote(word, safe="")
    escaped = json.dumps(word)[1:-1]
    quoted = {repr(word)[1:-1], escaped, escaped.replace("/", "\\/")}
    quoted |= {form.replace("\\", "\\\\") for form in quoted}  # the repr of a repr
    blanks = {" ".join(word.split()), "".join(word.split())}  # a key of several lines, joined
    forms = {secret, word, percent, quote(word), *quoted, *blanks}
    forms.add(re.sub("%..", lambda code: code[0].lower(), percent))
    forms |= _in_base64(word.encode(errors="replace"))
    return tuple(sorted(forms, key=len, reverse=True))


@lru_cache(maxsize=CACHED_SECRETS)
def cut_forms(secret: str) -> tuple[str, ...]:
    """Return the forms of a secret, without blanks, that are masked even if cut off or broken by blanks.

    For a JWT these are its claims with the signature, and the signature alone: all JWTs begin alike.
    """
    if is_jwt(secret):
        _, _, rest = secret.strip().partition(".")
        claims, _, signature = rest.rpartition(".")
        if len(claims) < CUT_CHARS:  # else the shortest match of the rest would be longer than the claims
            return tuple(form for form in (rest, signature, claims) if len(form) >= _CLAIMS_CHARS)
        forms = [rest, signature]
    else:
        forms = [form for form in encodings(secret) if form not in _in_base64(secret.strip().encode(errors="replace"))]
    bare = ("".join(form.split()) for form in forms)
    return tuple(dict.fromkeys(form for form in bare if len(form) >= CUT_CHARS))


@lru_cache(maxsize=CACHED_SECRETS)
def needles(forms: tuple[str, ...]) -> tuple[str, ...]:
    """Return substrings one of which occurs in every text that `mask_cut` would change."""
    ends = (end for form in forms for end in (form[:_NEEDLE_CHARS], form[-_NEEDLE_CHARS:]))
    return tuple(dict.fromkeys(ends))


def mask_cut(text: str, forms: tuple[str, ...]) -> str:
    """Mask the starts and ends of the `forms` that `cut_forms` returned, and whole forms that contain blanks."""
    spans = sorted(span for form in forms for span in _find_cut(text, form))
    pieces, done = [], 0
    for start, end in spans:
        if start >= done:
            pieces += [text[done:start], MASK]
        done = max(done, end)
    return "".join([*pieces, text[done:]]) if spans else text


def is_jwt(secret: str) -> bool:
    """Return whether `mask_jwts` masks all of a secret."""
    return mask_jwts(secret.strip()) == MASK


def find_passwords(url: str) -> list[str]:
    """Return the secrets in a URL, both as written and decoded."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    words = [value for pair in parts.query.split("&") for name, _, value in [pair.partition("=")] if "password" in name]
    forms = [form for word in (parts.password, *words) if word for form in dict.fromkeys((word, unquote(word)))]
    if parts.password:
        forms.append(f"{unquote(parts.username or '')}:{unquote(parts.password)}")
    return forms


def find_url_secrets(url: str) -> list[str]:
    """Return the parts of a webhook's URL that may be secret: what follows its host, and passwords."""
    behind = url.partition(urlsplit(url).netloc)[2]
    return [*([behind] if len(behind) >= _PATH_CHARS else []), *find_passwords(url)]


def hide_password(url: str) -> str:
    """Return a URL without its password."""
    before, at, place = url.rpartition("@")
    scheme, slashes, login = before.partition("://")
    user = login.partition(":")[0]
    return f"{scheme}{slashes}{user}{at}{place}" if at else url


def mask_jwts(text: str) -> str:
    """Mask everything that looks like a JWT, whoever owns it."""
    return _RUN.sub(_mask_jwt, text) if JWT_START in text else text


def _in_base64(data: bytes) -> set[str]:
    """Return the base64 of some bytes, alone and inside a longer text."""
    forms = {base64.b64encode(data).decode()}
    if len(data) < _BASE64_CHARS:
        return forms
    for before, touched in ((b"", 0), (b"\0", 2), (b"\0\0", 3)):
        whole = before + data
        for text in (base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
            forms.add(text.decode()[touched : 8 * len(whole) // 6])
    return forms


def _mask_jwt(match: re.Match[str]) -> str:
    """Mask from the start of a token on; searches each run of characters only once, however long it is."""
    text = match[0]
    at = text.find(JWT_START)
    return text[:at] + MASK if at >= 0 and "." in text[at:] else text


def _find_cut(text: str, form: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of a text that match the start or the end of a secret."""
    yield from _find_begun(text, form)
    for start, end in _find_begun(text[::-1], form[::-1]):
        yield len(text) - end, len(text) - start


def _find_begun(text: str, form: str) -> Iterator[tuple[int, int]]:
    needle = form[:_NEEDLE_CHARS]
    at = text.find(needle)
    while at >= 0:
        length, end = _follow(text, at, form)
        is_part = length >= min(CUT_CHARS, len(form))
        if is_part:
            yield at, end
        at = text.find(needle, end if is_part else at + 1)


def _follow(text: str, at: int, form: str) -> tuple[int, int]:
    """Return how many characters of a form match the text at a place, ignoring blanks, and where the match ends."""
    end, length = at, 0
    while length < len(form):
        while at < len(text) and at - end < _GAP_CHARS and text[at].isspace():
            at += 1
        if text[at : at + 1] != form[length]:
            break
        at, length = at + 1, length + 1
        end = at
    return length, end


class Redactor:
    """Masks in any text the secrets that were added, however they are escaped, and whatever looks like a JWT.

    It also masks the start or the end of a long secret that was cut off.
    """

    def __init__(self, *secrets: str | None) -> None:
        self._known: set[str] = set()
        self._either: re.Pattern[str] | None = None
        self._cut: tuple[str, ...] = ()
        self._ends: tuple[str, ...] = ()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str | None) -> None:
        """Mask this secret from now on."""
        if not secret:
            return
        self._cut = tuple(dict.fromkeys((*self._cut, *cut_forms(secret))))[-_CUT_FORMS:]
        self._ends = needles(self._cut)
        if is_jwt(secret):  # `mask_jwts` masks a whole one, and there may be thousands
            return
        forms = _line_encodings(secret) - self._known
        if not forms:
            return
        self._known |= forms
        longest_first = sorted(self._known, key=len, reverse=True)
        self._either = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """Return a text with its secrets masked."""
        known = text if self._either is None else self._either.sub(MASK, text)
        for end in self._ends:
            if end in known:
                known = mask_cut(known, self._cut)
                break
        return mask_jwts(known)


REDACTOR = Redactor()
"""The secrets of this process, which no log may show."""


def _line_encodings(secret: str) -> set[str]:
    """Return all forms of a secret; for a key of several lines, also each long line."""
    lines = (line.strip() for line in secret.splitlines())
    return set(encodings(secret)) | {line for line in lines if len(line) >= _LINE_CHARS}
