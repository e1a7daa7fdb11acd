"""A variable TZ that makes no sense does not pass for UTC where a time of the day matters, and breaks nothing."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bulkstop.errors import SettingsError
from bulkstop.settings import Settings
from tests.processes import bulkstop

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SetZone = Callable[[str | None], None]


@pytest.fixture
def set_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[SetZone]:
    """Set TZ as a shell would before the program starts."""

    def change(zone: str | None) -> None:
        if zone is None:
            monkeypatch.delenv("TZ", raising=False)
        else:
            monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield change
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("zone", "hours"),
    [
        ("Europe/Berlin", 5.0),
        (":Europe/Berlin", 5.0),
        ("EST5EDT", 11.0),
        ("XXX-3", 3.0),
        ("<+0530>-5:30", 0.5),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 5.0),
        ("UTC", 6.0),
        ("", 6.0),
    ],
)
def test_zone(zone: str, hours: float, set_zone: SetZone) -> None:
    """A zone in any form that TZ may have is gone by."""
    set_zone(zone)
    assert Settings(host="h", finish_by="18:00").seconds_left(NOON) == pytest.approx(hours * 3600)


def test_file_of_a_zone(set_zone: SetZone) -> None:
    """TZ may name a file, which must be that of a zone."""
    path = Path("/usr/share/zoneinfo/Europe/Berlin")
    if path.is_file():
        set_zone(f":{path}")
        assert Settings(host="h", finish_by="18:00").seconds_left(NOON) == 5 * 3600
    set_zone(__file__)
    with pytest.raises(SettingsError, match="is not a time zone that this machine knows"):
        Settings(host="h", finish_by="18:00")


@pytest.mark.parametrize(
    "zone", ["Europe/Berlln", "Foo/Bar", "../../etc/passwd", "/etc", "/dev/zero", "x" * 5000, "+2", "\udcff"]
)
def test_no_zone(zone: str, set_zone: SetZone) -> None:
    """An unknown zone, which the C library treats as UTC, is refused where a time of day is needed."""
    set_zone(zone)
    with pytest.raises(
        SettingsError, match=r"^finish_by 18:00: TZ '.{1,46}' is not a time zone that .*; give tz, or correct it$"
    ):
        Settings(host="h", finish_by="18:00")
    assert Settings(host="h", finish_by="18:00", tz="Europe/Berlin").seconds_left(NOON) == 5 * 3600
    assert Settings(host="h").seconds_left(NOON) is None


@pytest.mark.parametrize("zone", ["XXX+167", "XXX24", "<+99>-99"])
def test_offset_of_a_day(zone: str, set_zone: SetZone) -> None:
    """An offset of a day or more, in which no time can be written, is refused where a time of the day is to be met."""
    set_zone(zone)
    with pytest.raises(
        SettingsError, match=r"^finish_by 18:00: TZ '.*' is off by a day or more; give tz, or correct it$"
    ):
        Settings(host="h", finish_by="18:00")


@pytest.mark.real
def test_command_in_such_a_zone(tmp_path: Path) -> None:
    """The command, which shows times, says in one line that it cannot."""
    (tmp_path / "list.txt").write_text("cd-1\n")
    ended = bulkstop("stop", "list.txt", "--host", "https://api.example", "--dry-run", cwd=tmp_path, TZ="XXX+167")
    assert ended.code == 2
    assert (
        ended.err == "bulkstop: TZ 'XXX+167' is off by a day or more, so times cannot be shown; correct or unset it\n"
    )
