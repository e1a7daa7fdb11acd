"""Header fields are written as lines, and nothing in them can pass for more than it is."""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class LocalProtocolError(ValueError):
    """A request cannot be written; the message names the part of it, not what it holds."""


def format_headers(fields: Mapping[str, str]) -> str:
    """Write header fields, a line each; raises LocalProtocolError at what would not stay in its line."""
    for name, value in fields.items():
        if not _NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise LocalProtocolError(f"the header {name!a} holds a character that cannot be sent; nothing was sent")
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items())
