"""The rule for ids that can be sent: each stays one path segment and one header value through any gateway."""

import re
import unicodedata

from bulkstop.naming import name_setting

ID_CHARS = 256
"""The longest id that can be sent."""
LIKELY = re.compile(r"cd-(?!-)[0-9a-fA-F-]+(?<!-)")
"""The form of the campaign ids in the vendor's documents."""
POSSIBLE = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.~-]{1,256}")
"""An id that needs no encoding and is not a path step: every gateway reads it alike."""

_CHARS = re.compile(r"[A-Za-z0-9_.~-]")
_NAMELESS = {
    "Cc": "CONTROL CHARACTER",
    "Cs": "HALF OF A SURROGATE PAIR",
    "Co": "PRIVATE USE CHARACTER",
    "Cn": "UNASSIGNED CHARACTER",
}
# Unicode counts line separators as blanks, but they end a line just as control characters do.
_NEVER_OF_CATEGORY = frozenset({"Cc", "Cs", "Zl", "Zp"})
# NFKC keeps the lookalikes in this set, but conversions to older character sets turn them into separators.
_SEPARATORS = frozenset("/\\%\N{FRACTION SLASH}\N{DIVISION SLASH}\N{SET MINUS}\N{BIG SOLIDUS}\N{BIG REVERSE SOLIDUS}")
_DOTS = re.compile(r"\.*")
_PATH_ENDS = re.compile(r"[;?#]")
_SHOWN_CHARS = 60


def id_fault(value: str, *, any_id: bool = False, in_header: bool = False) -> str | None:
    """Return why an id cannot be sent, as a predicate without its subject; None if it can.

    With `any_id` it may contain other characters, unless a gateway that decodes and normalises them would see another
    path. An id that is also sent `in_header` must be visible ASCII.
    """
    if POSSIBLE.fullmatch(value):
        return None
    if not value:
        return "is empty"
    if len(value) > ID_CHARS:
        return f"has {len(value):,} characters; at most {ID_CHARS} can be sent"
    if value in (".", ".."):
        return f"{value!r} is a path step, not an id"
    fault = _fault_of_any(value, in_header=in_header)
    if any_id:
        return fault
    other = next(char for char in value if not _CHARS.match(char))
    remedy = "" if fault else f"; {name_setting('any_id', True)} allows it"
    return f"{_shown(value)} holds {name_of(other)}; an id has only letters, digits, '-', '_', '.' and '~'{remedy}"


def plain_id(value: str) -> str:
    """Return the id that a lenient service may see: normalised, and cut off where it would end."""
    seen = "".join(char for char in unicodedata.normalize("NFKC", value) if not _is_invisible(char))
    return _PATH_ENDS.split(seen, maxsplit=1)[0] or seen


def name_of(char: str) -> str:
    """Return the code point and the name of a character, such as U+00A0 NO-BREAK SPACE."""
    fallback = _NAMELESS.get(unicodedata.category(char), "UNNAMED CHARACTER")
    return f"U+{ord(char):04X} {unicodedata.name(char, fallback)}"


def _fault_of_any(value: str, *, in_header: bool) -> str | None:
    for char in value:
        if _is_never_sent(char):
            return f"{_shown(value)} holds {name_of(char)}, which is never sent"
        if in_header and not "!" <= char <= "~":
            return f"{_shown(value)} holds {name_of(char)}, which cannot stand in a header"
    if _DOTS.fullmatch(plain_id(value)):
        return f"{_shown(value)} becomes a path step where it is normalised"
    return None


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in ("Cf", "Zs")


def _is_never_sent(char: str) -> bool:
    normalised = unicodedata.normalize("NFKC", char)
    return unicodedata.category(char) in _NEVER_OF_CATEGORY or not _SEPARATORS.isdisjoint(normalised)


def _shown(value: str) -> str:
    return repr(value[:_SHOWN_CHARS]) + "..." * (len(value) > _SHOWN_CHARS)
