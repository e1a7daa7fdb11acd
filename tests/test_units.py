"""Units: the text after a number is read in one place."""

import pytest

from bulkstop.units import SECONDS, in_seconds, parse_percentage


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), (" 2.5% ", 0.025), ("100%", 1.0), ("150%", 1.5), ("0%", 0.0), ("5", None), ("5 %", None)]
    + [(text, None) for text in ("", "%", "-5%", "5%%", "1e2%", ".5%", "\u0665%", "5%x")],
)
def test_percentage(text: str, share: float | None) -> None:
    """A percentage is a plain number and its sign, and whether it may be above 100 is for the reader to say."""
    assert parse_percentage(text) == share


def test_units_of_time() -> None:
    """A reader takes those units that make sense where it reads, and they mean the same everywhere."""
    assert in_seconds("ms", "h") == {"ms": 1e-3, "h": 3600.0}
    assert SECONDS["m"] == SECONDS["min"] == 60
