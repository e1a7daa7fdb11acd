"""The body of a response, parsed as JSON."""

import codecs
import re
from typing import Any

import orjson

_ESCAPES = re.compile(r"\\(?:(u[dD][89abAB]..\\u[dD][c-fC-F]..)|(u[dD][89a-fA-F]..)|.)", re.DOTALL)


def parse_json(body: bytes) -> Any:
    r"""Return the JSON value of a body; raises orjson.JSONDecodeError if it is not JSON.

    A text truncated inside a character, as services truncate names, does not invalidate the rest: the remains of that
    character (half a surrogate pair, bytes that are not UTF-8) are read as `\ufffd`.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode(errors="replace")
        return orjson.loads(_ESCAPES.sub(lambda match: "\\ufffd" if match[2] else match[0], text))
