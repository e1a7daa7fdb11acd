"""What must not be shown is masked wherever it occurs."""

import base64
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

MASK = "[masked]"
HIDDEN = "(hidden)"
"""Stands in a manifest where a setting may hold a secret."""
SECRET_CHARS = 4
"""Shorter than this a secret is none, and masking it would tear every line apart."""

_BASE64_CHARS = 8  # of a shorter secret what is left between other bytes would be found everywhere
JWT_START = "eyJ"  # how the base64 of a JSON object begins
_RUN = re.compile(r"[A-Za-z0-9_.-]{20,}")  # no JWT is shorter
CACHED_SECRETS = 64

CUT_CHARS = 16
"""So much of the beginning or the end of a secret is masked too; less could be the name of a company."""
_CLAIMS_CHARS = 12  # of a JWT, at the least: {"sub":""}
_NEEDLE_CHARS = CUT_CHARS  # what is looked for, before it is seen how far the text goes on like the secret
_GAP_CHARS = 40  # of blanks within a secret: a broken line and what it is indented by
_CUT_FORMS = 256  # of all secrets; the oldest tokens are forgotten

_PATH_CHARS = 8  # of what stands behind the host in an address: less is no secret, and stands in many a text
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
    blanks = {" ".join(word.split()), "".join(word.split())}  # a key of several lines as one
    forms = {secret, word, percent, quote(word), *quoted, *blanks}
    forms.add(re.sub("%..", lambda code: code[0].lower(), percent))
    forms |= _in_base64(word.encode(errors="replace"))
    return tuple(sorted(forms, key=len, reverse=True))


@lru_cache(maxsize=CACHED_SECRETS)
def cut_forms(secret: str) -> tuple[str, ...]:
    """Return what of a secret is masked also where it is cut off or broken by blanks, which it has none of here.

    Of a JWT these are what it says with what signs it, and that alone: how it begins is the same in all of them.
    """
    if is_jwt(secret):
        _, _, rest = secret.strip().partition(".")
        claims, _, signature = rest.rpartition(".")
        if len(claims) < CUT_CHARS:  # the beginning of the rest is more than they are
            return tuple(form for form in (rest, signature, claims) if len(form) >= _CLAIMS_CHARS)
        forms = [rest, signature]
    else:
        forms = [form for form in encodings(secret) if form not in _in_base64(secret.strip().encode(errors="replace"))]
    bare = ("".join(form.split()) for form in forms)
    return tuple(dict.fromkeys(form for form in bare if len(form) >= CUT_CHARS))


@lru_cache(maxsize=CACHED_SECRETS)
def needles(forms: tuple[str, ...]) -> tuple[str, ...]:
    """Return what stands in every text that `mask_cut` has something to mask in."""
    ends = (end for form in forms for end in (form[:_NEEDLE_CHARS], form[-_NEEDLE_CHARS:]))
    return tuple(dict.fromkeys(ends))


def mask_cut(text: str, forms: tuple[str, ...]) -> str:
    """Mask beginnings and ends of what `cut_forms` has returned, and all of it where blanks stand in between."""
    spans = sorted(span for form in forms for span in _find_cut(text, form))
    pieces, done = [], 0
    for start, end in spans:
        if start >= done:
            pieces += [text[done:start], MASK]
        done = max(done, end)
    return "".join([*pieces, text[done:]]) if spans else text


def is_jwt(secret: str) -> bool:
    """Tell whether a secret is masked by its looks."""
    return mask_jwts(secret.strip()) == MASK


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


def find_url_secrets(url: str) -> list[str]:
    """Return what may be secret in the address of a receiver: what stands behind its host, and passwords."""
    behind = url.partition(urlsplit(url).netloc)[2]
    return [*([behind] if len(behind) >= _PATH_CHARS else []), *find_passwords(url)]


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


def _find_cut(text: str, form: str) -> Iterator[tuple[int, int]]:
    """Yield where a text has the beginning of a secret, or its end."""
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
    """Return how much of a form a text goes on with, blanks aside, and where that ends."""
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
    """Masks in any text what was told to be secret, however it is escaped there, and whatever looks like a JWT.

    Of a long secret so are its beginning and its end, where it was cut off.
    """

    def __init__(self, *secrets: str | None) -> None:
        self._known: set[str] = set()
        self._either: re.Pattern[str] | None = None
        self._cut: tuple[str, ...] = ()
        self._ends: tuple[str, ...] = ()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str | None) -> None:
        """Mask this from now on."""
        if not secret:
            return
        self._cut = tuple(dict.fromkeys((*self._cut, *cut_forms(secret))))[-_CUT_FORMS:]
        self._ends = needles(self._cut)
        if is_jwt(secret):  # a whole one is masked by its looks, and they come by the thousand
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
        for end in self._ends:
            if end in known:
                known = mask_cut(known, self._cut)
                break
        return mask_jwts(known)


REDACTOR = Redactor()
"""What this process has learnt that no log may show."""


def _line_encodings(secret: str) -> set[str]:
    """Return a secret in all its forms; a key also line by line."""
    lines = (line.strip() for line in secret.splitlines())
    return set(encodings(secret)) | {line for line in lines if len(line) >= _LINE_CHARS}
