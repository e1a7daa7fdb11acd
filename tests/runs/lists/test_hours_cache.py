"""The file of calling hours: what it gives back, and what it does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from bulkstop.kore.details.calling_hours import CallingHours, Hours, Window
from bulkstop.redact import REDACTOR
from bulkstop.runs.lists import hours_cache
from bulkstop.runs.lists.hours_cache import HoursCache, Key

KEY = Key("https://platform.kore.ai", "a1", "st-1", "cd-1", "2026-01-01T00:00:00.000Z")
HOURS = Hours(CallingHours("Asia/Kolkata", (Window(0, 540, 1080), Window(1, 1080, 0))))


def write(path: Path, hours: Hours = HOURS, key: Key = KEY) -> None:
    """Keep the calling hours of one campaign."""
    cache = HoursCache(path)
    cache.add(key, hours)
    assert cache.save() is None


@pytest.mark.parametrize("hours", [HOURS, Hours(), Hours(fault="end is '25:00'")])
def test_kept(tmp_path: Path, hours: Hours) -> None:
    """Calling hours are valid until their campaign changes, for its own host only, and for no other user."""
    path = tmp_path / "state" / "hours.json"
    write(path, hours)
    cache = HoursCache(path)
    assert (cache.find(KEY), cache.note) == (hours, None)
    assert cache.find(KEY._replace(updated_at="2026-01-02T00:00:00.000Z")) is None
    assert cache.find(KEY._replace(host="https://jp-platform.kore.ai")) is None
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text[:100], "is damaged"),
        (lambda text: text.replace('"windows":[[0,', '"windows":[[7,'), "is damaged"),
        (lambda text: text.replace('"campaign_id"', '"id"'), "is damaged"),
        (lambda text: "[]", "is damaged"),
        (lambda text: text.replace('"version":1', '"version":2'), "was written by another version of bulkstop"),
        (lambda text: text.replace('"version":1,', ""), "was written by another version of bulkstop"),
    ],
)
def test_not_usable(tmp_path: Path, change: Any, why: str) -> None:
    """A damaged file, or one of another version, is ignored with a message, and replaced."""
    path = tmp_path / "hours.json"
    write(path)
    path.write_text(change(path.read_text()))
    cache = HoursCache(path)
    assert cache.note == f"{path} {why}: all calling hours are asked for anew"
    assert cache.find(KEY) is None
    write(path)
    assert HoursCache(path).find(KEY) == HOURS


def test_no_secret(tmp_path: Path) -> None:
    """Calling hours that contain a secret are not stored."""
    path = tmp_path / "hours.json"
    REDACTOR.add("a-secret-of-this-test")
    write(path, Hours(fault="timezone is 'a-secret-of-this-test'"))
    assert json.loads(path.read_text())["campaigns"] == []


def test_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has each campaign once, in its latest state, and drops the least recently used."""
    monkeypatch.setattr(hours_cache, "KEPT", 2)
    path = tmp_path / "hours.json"
    keys = [KEY._replace(campaign_id=f"cd-{number}") for number in range(3)]
    for key in keys:
        write(path, key=key)
    write(path, Hours(), keys[2]._replace(updated_at="2026-01-02T00:00:00.000Z"))
    assert [HoursCache(path).find(key) for key in keys] == [None, HOURS, None]


def test_no_place(tmp_path: Path) -> None:
    """A place that cannot be written costs nothing but what it would have saved."""
    (tmp_path / "file").touch()
    cache = HoursCache(tmp_path / "file" / "hours.json")
    cache.add(KEY, HOURS)
    fault = cache.save()
    assert fault is not None
    assert fault.startswith("the calling hours are not kept for the next time: ")
