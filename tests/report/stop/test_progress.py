"""The line that shows the state of a run."""

import io
import re

import pytest

from bulkstop.model import PaceFinding, WaitReason
from bulkstop.report.stop.progress import Bar, Lines, format_progress
from bulkstop.report.stop.snapshot import RunState, Snapshot

RUN = Snapshot("run-1", RunState.RUNNING, 126, 126, 60, 58, 2, 3, 12.0, 61.0, WaitReason.QUOTA, 41.2)
NOON = 1_767_355_200.0


@pytest.mark.parametrize("width", [12, 16, 20, 40, 60, 80, 200])
def test_numbers_come_first(width: int) -> None:
    """In any width the numbers of ended and failed campaigns are shown, and no word is cut."""
    line = format_progress(RUN, width, at=NOON)
    assert line.startswith("60/126  2 failed")
    assert len(line) <= max(width, len("60/126  2 failed"))
    assert format_progress(RUN, at=NOON).startswith(line)
    parts = re.split("  ", line)
    assert parts == re.split("  ", format_progress(RUN, at=NOON))[: len(parts)]


def test_the_end_and_the_wait_are_told() -> None:
    """The end is a time of the day, a wait has its reason and how long it takes, and then comes what else is known."""
    line = format_progress(RUN, at=NOON)
    assert re.fullmatch(r"60/126  2 failed  ends \d\d:\d\d:\d\d \S+  waits: quota 41 s  5.0/s  58 done", line)
    assert re.search(r"ends \d{4}-\d\d-\d\d ", format_progress(RUN._replace(left_s=90_000.0), at=NOON))
    assert "  ends " in format_progress(RUN._replace(left_s=0.0), at=NOON), "the end is told to the end"
    unknown = RUN._replace(left_s=None, waits_for=WaitReason.READER, waits_s=None)
    assert format_progress(unknown, 40, at=NOON) == "60/126  2 failed  waits: reader  5.0/s"


@pytest.mark.parametrize("reason", WaitReason)
def test_every_wait_names_its_reason(reason: WaitReason) -> None:
    """Every reason to wait has its own words, which fit in 80 columns."""
    assert f"waits: {reason}" in format_progress(RUN._replace(waits_for=reason), 80, at=NOON)


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (RUN._replace(sent=0, answered=60), "0/126  2 failed  60 answered"),
        (RUN._replace(answered=60), "60/126  2 failed  60 answered"),
        (RUN._replace(sent=0, waits_s=4.0), "0/126  2 failed  waits: quota 4.0 s"),
        (RUN._replace(waits_for=WaitReason.THROTTLED), "60/126  2 failed  waits: throttled 41 s"),
        (RUN._replace(sent=0, waits_for=None), "0/126  2 failed  3 in flight"),
    ],
    ids=["nothing has ended", "some wait for a list", "quota from the start", "not foreseen", "no answer yet"],
)
def test_a_sign_of_life(run: Snapshot, line: str) -> None:
    """In 40 columns the activity or the reason to wait is shown while the count does not change."""
    assert format_progress(run, 39, at=NOON) == line
    assert format_progress(run, at=NOON).startswith(f"{line}  ends ")


def test_an_end_at_the_deadline() -> None:
    """If the deadline comes before all are sent, the end is named so, as far as there is room."""
    line = format_progress(RUN._replace(ends_at_deadline=True), at=NOON)
    assert re.search(r"  ends \d\d:\d\d:\d\d \S+  \(deadline\)  waits: ", line)
    over = format_progress(RUN._replace(ends_at_deadline=True, left_s=0.0), at=NOON)
    assert "deadline" not in over


def test_lines_are_what_the_bar_says() -> None:
    """On an output that cannot be redrawn, the same numbers are a line each time."""
    lines: list[str] = []
    Lines(lines.append).show(RUN)
    assert lines[0].startswith("60/126  2 failed  ends ")


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_the_bar_is_one_line(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line never wraps, and keeps the failed count; a bar is there where it has room."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    bar = Bar(stream)
    bar.show(RUN)
    bar.close()
    shown = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", stream.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert lines[0].startswith("60/126  2 failed")
    assert all(len(line) < columns for line in lines)
    assert len(set(lines)) == 1
    assert not re.search(r"\x1b\[[\d;]*3\d", stream.getvalue()), "NO_COLOR is not honoured"


@pytest.mark.parametrize(
    ("pace", "words"),
    [
        (PaceFinding(12, 1.0), "evenly, one every 1.0 s: refused at 12 at once"),
        (
            PaceFinding(1, 1.5, 0.67, 40),
            "evenly, one every 1.5 s: the service accepts 40 in a window, fewer than quota says",
        ),
        (PaceFinding(1, 1.5, 0.67), "evenly, one every 1.5 s: something else also uses the account"),
    ],
)
def test_pace(pace: PaceFinding, words: str) -> None:
    """Calls that leave more slowly than the quota lets them have a reason."""
    assert f"  {words}  " in format_progress(RUN._replace(pace=pace))
