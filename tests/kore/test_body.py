"""The body of an answer, read as JSON."""

import orjson
import pytest

from bulkstop.kore.body import parse_json


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"name":"Promo \\ud83d"}', {"name": "Promo \ufffd"}),
        (b'{"name":"\\uDC00 \\ud83d\\ude00"}', {"name": "\ufffd \U0001f600"}),
        (b'{"name":"\\\\ud83d \\ud83d"}', {"name": "\\ud83d \ufffd"}),
        (b'{"name":"caf\xc3"}', {"name": "caf\ufffd"}),
        (b'{"a":["\\ud83d\\ud83d\\ude00"]}', {"a": ["\ufffd\U0001f600"]}),
    ],
)
def test_cut_characters(body: bytes, value: object) -> None:
    """Half a character, as a service leaves it that cuts names, spoils nothing but itself."""
    assert parse_json(body) == value


@pytest.mark.parametrize("body", [b"", b"{", b"no \\ud83d", b"[" * 5000, b'"\\ud83'])
def test_no_json(body: bytes) -> None:
    """Invalid JSON is not repaired."""
    with pytest.raises(orjson.JSONDecodeError):
        parse_json(body)
