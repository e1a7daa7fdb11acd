"""Reads the schedules in a file of profiles; collects each fault with its line."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from bulkstop.errors import BulkstopError, SettingsError
from bulkstop.runs.schedule.keys import BOUNDS, FLAGS, KEYS, OF_RUNNING, OF_STOP, VERIFY_S, Overlap, write_option
from bulkstop.schedule.days import DAILY
from bulkstop.schedule.firings import Firing, OnHoliday, Timetable
from bulkstop.schedule.free_days import FreeDays
from bulkstop.settings import OPTION_SPECS, key_of
from bulkstop.settings.config_file import read_config
from bulkstop.settings.finish_by import find_moment
from bulkstop.settings.profiles import SCHEDULES, line_of, list_profiles, read_profile
from bulkstop.text.faults import explain_toml
from bulkstop.text.likeness import suggest_near

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
CATCH_UP_S = 600.0


@dataclass(frozen=True)
class Schedule:
    """`[schedule.NAME]` of a file: when it fires, what it stops, and what happens around that."""

    timetable: Timetable
    path: str
    profile: str | None = None
    input: str | None = None
    command: str | None = None
    running: bool = False
    options: tuple[str, ...] = ()
    """Options of `stop`, as command-line words."""
    finish_by: str | None = None
    results: str = "results"
    keep_s: float | None = None
    keep_delete: bool = False
    verify_s: float | None = VERIFY_S
    catch_up_s: float = CATCH_UP_S
    overlap: Overlap = Overlap.WAIT
    preflight_s: float | None = None
    notify: tuple[str, ...] = ()
    on_success: str | None = None
    on_failure: str | None = None
    is_guarded: bool = True
    """Whether the number of campaigns to stop is limited."""

    @property
    def name(self) -> str:
        """The name of the schedule."""
        return self.timetable.name

    def find_deadline(self, firing: Firing) -> datetime | None:
        """Return the moment to finish a firing by: the first such time after it, in its zone."""
        if self.finish_by is None:
            return None
        moment = find_moment(self.finish_by, self.timetable.zone, firing.moment)
        if moment <= firing.moment:
            day = firing.local.date() + timedelta(days=1)
            moment = find_moment(f"{day}T{self.finish_by}", self.timetable.zone, firing.moment)
        return moment


class Schedules(NamedTuple):
    """The valid schedules of a file, and one line for each fault of the others."""

    found: Mapping[str, Schedule]
    faults: tuple[str, ...]


@dataclass
class _Reading:
    """One table while it is read: the values of its keys, and their faults."""

    path: str
    text: str
    name: str
    table: Mapping[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def refuse(self, key: str | None, why: str) -> None:
        """Record a fault with the line of its key, or of the table."""
        self.faults.append(f"{_locate(self.path, self.text, self.name, key)}: {why}")


def locate(schedule: Schedule, key: str | None) -> str:
    """Return where a key of a schedule is: file, line and key; if the schedule lacks it, where its table is."""
    text = read_config(schedule.path, is_named=True) or ""
    tables = tomllib.loads(text).get(SCHEDULES, {})
    return _locate(schedule.path, text, schedule.name, key if key in tables.get(schedule.name, {}) else None)


def _locate(path: str, text: str, name: str, key: str | None) -> str:
    keys = [SCHEDULES, name, *([key] if key else [])]
    line = line_of(text, *keys) or line_of(text, *keys[:2])
    return f"{path} line {line}: {'.'.join(keys)}" if line else f"{path}: {'.'.join(keys)}"


def read_schedules(path: str, *, is_named: bool) -> Schedules:
    """Read all `[schedule.NAME]` of a file; raises SettingsError for a file that cannot be read, or has none."""
    text = read_config(path, is_named=is_named)
    if text is None:
        raise SettingsError(f" {path}: no such file; schedules are in it, as [{SCHEDULES}.NAME]", setting="config")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f" {path}: cannot be read as TOML: {explain_toml(error, text)}", setting="config") from None
    tables = document.get(SCHEDULES)
    if not isinstance(tables, dict) or not tables:
        read_profile(path, None, is_named=is_named)  # raises for a misspelled table, with its line
        raise SettingsError(
            f" {path}: has no schedule; write [{SCHEDULES}.eod] with at, tz and what to stop", setting="config"
        )
    found, faults = {}, list[str]()
    for name, table in tables.items():
        reading = _Reading(path, text, name, table if isinstance(table, dict) else {})
        schedule = _read_table(reading, is_named=is_named) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            reading.refuse(None, f"is outside of all schedules; put it below [{SCHEDULES}.NAME]")
        if schedule is not None and not reading.faults:
            found[name] = schedule
        faults += reading.faults
    return Schedules(found, tuple(faults))


def find_schedule(schedules: Schedules, name: str, path: str) -> Schedule:
    """Return a schedule by name; raises SettingsError for one that is missing or invalid."""
    if name in schedules.found:
        return schedules.found[name]
    own = [fault for fault in schedules.faults if f": {SCHEDULES}.{name}" in fault]
    if own:
        raise SettingsError(
            own[0] if len(own) == 1 else f"{own[0]} (and {len(own) - 1} more; see bulkstop schedule check)"
        )
    near = suggest_near(name, schedules.found) or f"; it has {', '.join(schedules.found) or 'none that makes sense'}"
    raise SettingsError(f"{path}: has no [{SCHEDULES}.{name}]{near}")


def _read_table(reading: _Reading, *, is_named: bool) -> Schedule | None:
    if not _NAME.fullmatch(reading.name):
        reading.refuse(
            None, "a schedule's name has small letters, digits and dashes, 32 at most: files are named by it"
        )
    options = list[str]()
    for key, value in reading.table.items():
        try:
            if key in KEYS:
                reading.values[key] = KEYS[key].read(value)
            elif key in OF_STOP:
                options += write_option(OF_STOP[key], value)
            else:
                reading.refuse(key, _explain_unknown(key))
        except (ValueError, BulkstopError) as error:
            reading.refuse(key, str(error).lstrip(" :"))
    _check_whole(reading, is_named=is_named)
    return None if reading.faults else _make(reading, tuple(options))


def _explain_unknown(key: str) -> str:
    elsewhere = key in {key_of(name) for name in OPTION_SPECS}
    if elsewhere:
        return f"is a setting of a connection; put it below [profile.NAME], and name that: profile = {'NAME'!r}"
    return f"unknown key{suggest_near(key, [*KEYS, *OF_STOP]) or '; docs/end-of-day.md lists the keys'}"


def _check_whole(reading: _Reading, *, is_named: bool) -> None:
    """Record missing keys, and keys that conflict."""
    table = reading.table
    for key in ("at", "tz"):
        if key not in table:
            reading.refuse(None, f"has no {key}: {KEYS[key].about}")
    sources = [key for key in ("input", "command", "running") if table.get(key) not in (None, False)]
    if len(sources) != 1:
        what = " and ".join(sources) or "nothing"
        reading.refuse(sources[-1] if sources else None, f"names {what} to stop; give one of input, command, running")
    for key in (*OF_RUNNING, "calling_hours", "targets"):
        if key in table and sources != ["running"]:
            reading.refuse(key, "is a filter of what runs; give running = true with it")
    if "on_holiday" in table and not ({"holidays", "holidays_file"} & table.keys()):
        reading.refuse("on_holiday", "needs holidays or holidays_file")
    if reading.values.get("keep_delete") and "keep" not in table:
        reading.refuse("keep_delete", "needs keep, which says after how long: 90d")
    if (profile := reading.values.get("profile")) is not None:
        try:
            if profile not in (there := list_profiles(read_profile(reading.path, None, is_named=is_named))):
                near = suggest_near(profile, there) or f"; it has {', '.join(there) or 'no profile at all'}"
                reading.refuse("profile", f"{reading.path} has no [profile.{profile[:40]}]{near}")
                return
            read_profile(reading.path, profile, is_named=is_named)
        except SettingsError as error:
            reading.refuse("profile", str(error).lstrip(" :"))


def _make(reading: _Reading, options: tuple[str, ...]) -> Schedule:
    values = reading.values
    timetable = Timetable(
        reading.name,
        values["at"],
        values["tz"],
        values.get("days", DAILY),
        FreeDays(values.get("holidays", ()), values.get("holidays_file", {})),
        values.get("on_holiday", OnHoliday.SKIP),
    )
    expect = [f"--expect={values['expect']}"] if "expect" in values else []
    filters = [f"--{key}={values[key]}" for key in OF_RUNNING if key in values]
    more: dict[str, Any] = {
        key: values[key]
        for key in (
            "profile",
            "input",
            "command",
            "running",
            "finish_by",
            "results",
            "keep_delete",
            "overlap",
            "notify",
        )
        if key in values
    }
    more |= {f"{key}_s": values[key] for key in ("keep", "verify", "catch_up", "preflight") if key in values}
    more |= {key: values[key] for key in ("on_success", "on_failure") if key in values}
    return Schedule(
        timetable,
        reading.path,
        options=(*options, *expect, *filters, *(f"--{key.replace('_', '-')}" for key in FLAGS if values.get(key))),
        is_guarded=any(key in reading.table for key in BOUNDS),
        **more,
    )
