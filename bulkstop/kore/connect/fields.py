"""Header fields are written as lines, and none can inject another."""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class LocalProtocolError(ValueError):
    """A request cannot be written; the message names the faulty part, not its content."""


def format_headers(fields: Mapping[str, str]) -> str:
    """Return header fields as lines; raises LocalProtocolError for one that would not stay in its line."""
    for name, value in fields.items():
        if not _NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise LocalProtocolError(f"the header {name!a} holds a character that cannot be sent; nothing was sent")
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items())
