"""The words for the shape of a load."""

from typing import Any

import pytest

from bulkstop.cli.load.command import command
from bulkstop.cli.load.options import read_shape
from bulkstop.errors import SettingsError
from bulkstop.runs.load import shapes
from bulkstop.runs.load.shapes import Shape

SPIKE = {"rate": 10.0, "length_s": 10.0}


@pytest.mark.parametrize(
    ("text", "per_s"),
    [
        ("500/s", 500),
        ("500", 500),
        (" 0.5 / s ", 0.5),
        ("30/min", 0.5),
        ("30/m", 0.5),
        ("3600/h", 1),
        ("60/10s", 6),
        ("3 / 100ms", 30),
        ("60/60", 1),
        ("30/1min", 0.5),
    ],
)
def test_rate(text: str, per_s: float) -> None:
    """A rate has a unit of time, or none for the second."""
    assert shapes.parse_rate(text) == pytest.approx(per_s)


@pytest.mark.parametrize(
    "text", ["", "0/s", "-5/s", "5/d", "1e3/s", "5 s", "nan", "inf/s", "9999999/s", "1,000/s", "5/", "5/0s", "5//s"]
)
def test_no_rate(text: str) -> None:
    """A rate must be a number above zero."""
    with pytest.raises(ValueError, match=r"rate|nothing"):
        shapes.parse_rate(text)


def test_ramp() -> None:
    """The unit of a ramp may be given once, at its end; it may begin or end at zero."""
    assert shapes.parse_ramp("10..1000/s") == (10, 1000)
    assert shapes.parse_ramp("60/min..10/s") == (1, 10)
    assert shapes.parse_ramp("600..0/min") == (10, 0)


@pytest.mark.parametrize("text", ["10/s", "10..", "..10/s", "1..2..3/s", "0..0/s", "1-10/s"])
def test_no_ramp(text: str) -> None:
    """A ramp needs two ends."""
    with pytest.raises(ValueError, match=r"rate|ramp|nothing"):
        shapes.parse_ramp(text)


def test_steps() -> None:
    """Steps are rates with commas between them."""
    assert shapes.parse_steps("100,200, 400/s") == (100, 200, 400)
    assert shapes.parse_steps("60,0,60/min") == (1, 0, 1)
    for text in ("100,,200/s", "0,0/s", "100;200/s"):
        with pytest.raises(ValueError, match=r"rate|nothing"):
            shapes.parse_steps(text)


def test_spike() -> None:
    """A spike is a rate, with an optional duration."""
    assert shapes.parse_spike("2000/s") == (2000, None)
    assert shapes.parse_spike("60/min:500ms") == (1, 0.5)
    for text in ("2000/s:", "2000/s:0s", ":5s"):
        with pytest.raises(ValueError, match=r"rate|time"):
            shapes.parse_spike(text)


@pytest.mark.parametrize(
    ("options", "listed", "count", "length_s", "peak", "words"),
    [
        ({"rate": 500.0, "length_s": 30.0}, None, 15_000, 30.0, 500, "500/s, for 30 s"),
        ({"rate": 10.0, "count": 25}, None, 25, 2.5, 10, "10/s"),
        ({"rate": 10.0}, 24, 24, 2.4, 10, "10/s"),
        ({"rate": 10.0, "length_s": 1.0}, 24, 10, 1.0, 10, "10/s, for 1.0 s"),
        ({"rate": 10.0, "length_s": 9.0, "count": 24}, 5, 24, 2.4, 10, "10/s, for 9.0 s"),
        ({"ramp": (10.0, 1000.0), "length_s": 20.0}, 7, 10_100, 20.0, 1000, "10/s rising to 1,000/s, for 20 s"),
        ({"ramp": (100.0, 0.0)}, 500, 500, 10.0, 100, "100/s falling to 0/s"),
        ({"steps": (100.0, 200.0), "step_s": 2.0}, 7, 600, 4.0, 200, "100, 200/s, 2.0 s each"),
        ({"steps": (100.0, 200.0), "step_s": 2.0, "count": 300}, 7, 300, 2.5, 200, "100, 200/s, 2.0 s each"),
        ({**SPIKE, "spike": (100.0, None)}, None, 280, 10.0, 100, "10/s, in the middle 100/s, for 10 s"),
        ({**SPIKE, "spike": (100.0, 1.0)}, None, 190, 10.0, 100, "10/s, in the middle 100/s, for 10 s"),
    ],
)
def test_schedule(
    options: dict[str, Any], listed: int | None, count: int, length_s: float, peak: float, words: str
) -> None:
    """The options become a schedule; without an end of its own it ends with the list."""
    shape = Shape(**options)
    schedule = shape.schedule(listed)
    assert schedule is not None
    assert (len(schedule), schedule.peak, shape.words()) == (count, peak, words)
    assert schedule.length_s == pytest.approx(length_s)


def test_closed() -> None:
    """A closed model has no schedule, only an end."""
    shape = Shape(closed=True, count=7)
    assert (shape.schedule(5), shape.count_for(5)) == (None, 7)
    assert Shape(closed=True).count_for(5) == 5
    assert Shape(closed=True, length_s=3).count_for(5) is None
    assert shape.words() == "closed: each request after the answer to the one before it"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "give one of rate="),
        ({"rate": 1.0, "ramp": (1.0, 2.0)}, "give one of rate="),
        ({"rate": 1.0, "closed": True}, "give one of rate="),
        ({"steps": (1.0,)}, "steps=.* and step=.* go together"),
        ({"rate": 1.0, "step_s": 2.0}, "steps=.* and step=.* go together"),
        ({"steps": (1.0,), "step_s": 1.0, "length_s": 5.0}, "duration: steps end"),
        ({"rate": 1.0, "spike": (5.0, None)}, "spike: "),
        ({"ramp": (1.0, 2.0), "length_s": 5.0, "spike": (5.0, None)}, "spike: "),
        ({"rate": 1.0}, 'duration="30s" or count: neither is given'),
        ({"closed": True}, 'duration="30s" or count: neither is given'),
        ({"rate": 1.0, "length_s": 5.0, "spike": (5.0, 6.0)}, "the spike is longer than the whole"),
    ],
)
def test_refused(options: dict[str, Any], why: str) -> None:
    """Two shapes at once, half of one, and what has no end or cannot be, are refused by name."""
    with pytest.raises(SettingsError, match=why):
        Shape(**options).schedule(None)


@pytest.mark.parametrize(
    ("typed", "planned"),
    [
        ("--ramp 10..190/s --duration 500ms", 50),
        ("--steps 50,100/s --step 200ms", 30),
        ("--rate 6000/min --spike 300/s:100ms --duration 500ms", 70),
    ],
)
def test_typed(typed: str, planned: int) -> None:
    """Each shape can be typed, and sends as many as its rates add up to."""
    schedule = read_shape(command.make_context("load", typed.split()).params).schedule(None)
    assert schedule is not None
    assert len(schedule) == planned
