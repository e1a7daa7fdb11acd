"""Runs one firing: checks that it is due and the only one, then stops, verifies and records it."""

import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from bulkstop.errors import OutputError
from bulkstop.files.state_folder import make_private_folder
from bulkstop.model import SIGNALS
from bulkstop.report.stop.manifest import Manifest, manifest_path
from bulkstop.runs.schedule.due import Decision, Due, decide
from bulkstop.runs.schedule.journal import OTHER_FOLDER, Entry, Event, Journal, find_last_run, make_entry
from bulkstop.runs.schedule.keeping import keep_results
from bulkstop.runs.schedule.keys import Overlap
from bulkstop.runs.schedule.lock import Lock
from bulkstop.runs.schedule.notices import Notice, NoticeKind
from bulkstop.runs.schedule.occasion import Occasion, start_by_hand
from bulkstop.runs.schedule.settings import Schedule
from bulkstop.schedule.firings import Firing
from bulkstop.text import format_duration

RACE_S = 2.0
"""Seconds within which a process that takes the lock writes which firing it runs."""
LOOK_EVERY_S = 0.5
GUARD_EXIT = 3
MISSED_EXIT = 1
INTERRUPTED = frozenset(128 + signum for signum in SIGNALS)
READ_BACK_AFTER = frozenset({0, 1, 3, 4})
"""Exit codes of runs that may have stopped something."""


class Work(NamedTuple):
    """What a firing stops, until when, and whether it continues a result file."""

    occasion: Occasion
    results: str
    deadline: datetime | None
    resumes: bool = False
    is_again: bool = False
    """Whether failed rows are sent again."""


class Stopped(NamedTuple):
    """How a stop ended: its exit code, and its verdict in one line."""

    exit_code: int
    verdict: str = ""


class ReadBack(NamedTuple):
    """The verification after a stop: the exit code of `verify`, its verdict, and its facts as JSON values."""

    exit_code: int
    verdict: str = ""
    facts: Mapping[str, Any] | None = None


def read_clock() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass
class Conductor:
    """Runs the firings of a schedule; callbacks do everything outside of its folder."""

    schedule: Schedule
    stop: Callable[[Work], Stopped]
    verify: Callable[[str], ReadBack]
    tell: Callable[[Notice], None]
    say: Callable[[str], None]
    note: Callable[[str], None]
    """Prints messages that --quiet suppresses."""
    now: Callable[[], datetime] = read_clock
    sleep: Callable[[float], None] = time.sleep
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.schedule.results, self.schedule.name)

    def fire(self) -> int:
        """Run the firing that is due, if any; return its exit code."""
        return self._guarded(self._fire)

    def fire_by_hand(self) -> int:
        """Run now, regardless of the calendar; return the exit code."""
        return self._guarded(self._fire_by_hand)

    def fire_again(self) -> int:
        """Continue the last run, and send again what failed in it; return the exit code."""
        return self._guarded(self._fire_again)

    def decide(self) -> Decision:
        """Return what to do now."""
        return decide(self.schedule.timetable, self.journal.read(), self.now(), self.schedule.catch_up_s)

    def _guarded(self, act: Callable[[], int]) -> int:
        """Run `act`; if the folder of the schedule cannot be read or written, report it and return GUARD_EXIT."""
        try:
            try:
                make_private_folder(Path(self.schedule.results).absolute())
            except OSError as error:
                why = f"cannot be made ({error.strerror}); {OTHER_FOLDER}"
                raise OutputError(f"{self.schedule.results}: {why}") from None
            return act()
        except OutputError as error:
            self.say(f"bulkstop: nothing more is stopped: {error}")
            self._tell(NoticeKind.ENDED, None, str(error), exit_code=GUARD_EXIT)
            return GUARD_EXIT

    def _fire(self) -> int:
        decision = self.decide()
        if decision.due in (Due.DONE, Due.NOT_DUE) and not decision.missed:
            return self._say_idle(decision)
        with Lock(self.schedule.results, self.schedule.name) as lock:
            if not lock.take() and (code := self._wait_for(lock, decision)) is not None:
                return code
            decision = self.decide()
            code = self._note_missed(decision.missed)
            if decision.firing is None or decision.due in (Due.DONE, Due.NOT_DUE):
                return code or self._say_idle(decision)
            return self._run(Occasion(decision.firing))

    def _fire_by_hand(self) -> int:
        with self._only() as lock:
            return self._run(start_by_hand(self.schedule.name, self.schedule.timetable.zone, self.now())) if lock else 1

    def _fire_again(self) -> int:
        last = find_last_run(self.journal.read())
        if last is None:
            self.say(f"bulkstop: {self.schedule.name}: has not run yet; give --now to run it")
            return 2
        with self._only() as lock:
            return self._run(last.occasion, is_again=True) if lock else 1

    def _only(self) -> "_Held":
        lock = Lock(self.schedule.results, self.schedule.name)
        is_free = lock.take()
        if not is_free:
            self.say(f"bulkstop: {self.schedule.name}: runs right now; nothing was done")
        return _Held(lock if is_free else None)

    def _say_idle(self, decision: Decision) -> int:
        """Print that there is nothing to do; return 0."""
        if decision.due is Due.DONE and decision.firing is not None:
            done = Occasion(decision.firing)
            self.note(f"{done.title}: is done; bulkstop schedule run {self.schedule.name} --again goes on with it")
            return 0
        upcoming = f"the next firing is {_format_local(decision.next)}" if decision.next else "it never fires again"
        self.note(f"{self.schedule.name}: not due; {upcoming}")
        return 0

    def _wait_for(self, lock: Lock, decision: Decision) -> int | None:
        """Wait or skip while another process has the lock, as `overlap` says; None once the lock is free."""
        firing = decision.firing
        until = self.now() + timedelta(seconds=RACE_S)
        while self.now() < until:  # the other process may be about to record this very firing
            if self._runs_elsewhere(firing):
                return 0
            self.sleep(LOOK_EVERY_S)
            if lock.take():
                return None
        if self._runs_elsewhere(firing):
            return 0
        if firing is None:
            return 0
        while self.schedule.overlap is Overlap.WAIT and not self._is_too_late(firing):
            self.sleep(LOOK_EVERY_S)
            if lock.take():
                return None
        why = "the run before still goes on"
        occasion = Occasion(firing)
        self.journal.append(make_entry(Event.SKIPPED, occasion, self.now(), note=why))
        self._tell(NoticeKind.MISSED, occasion, why)
        self.say(f"{occasion.title}: skipped, {why}")
        return 0 if self.schedule.overlap is Overlap.SKIP else MISSED_EXIT

    def _runs_elsewhere(self, firing: Firing | None) -> bool:
        """Return whether another process runs this firing, or has run it."""
        decision = self.decide()
        if decision.due is Due.RUN and decision.firing == firing:
            return False
        is_same = decision.firing is not None and firing is not None and decision.firing.key == firing.key
        self.note(f"{self.schedule.name}: {'this firing runs already' if is_same else 'nothing is due any more'}")
        return True

    def _is_too_late(self, firing: Firing) -> bool:
        now, deadline = self.now(), self.schedule.find_deadline(firing)
        is_past = deadline is not None and now >= deadline
        return is_past or now - firing.moment > timedelta(seconds=self.schedule.catch_up_s)

    def _note_missed(self, missed: tuple[Firing, ...]) -> int:
        """Record and report the firings that did not run; return the exit code."""
        for firing in missed:
            why = f"was not run within {format_duration(self.schedule.catch_up_s)} (catch_up)"
            self._miss(Occasion(firing), why)
        return MISSED_EXIT if missed else 0

    def _miss(self, occasion: Occasion, why: str) -> int:
        self.journal.append(make_entry(Event.MISSED, occasion, self.now(), note=why))
        self._tell(NoticeKind.MISSED, occasion, why)
        self.say(f"{occasion.title}: {why}; nothing was stopped")
        return MISSED_EXIT

    def _run(self, occasion: Occasion, *, is_again: bool = False) -> int:
        """Stop, verify and tidy up, with a journal entry for each step; return the exit code."""
        results = occasion.results(self.schedule.results)
        deadline = self.schedule.find_deadline(occasion.firing)
        resumes = Path(results).exists()
        if is_again and not resumes and Path(f"{results}.gz").exists():
            self.say(f"bulkstop: {results}.gz: is compressed (keep); unpack it first: gunzip {shlex.quote(results)}.gz")
            return 2
        if is_again and resumes and find_end(results) == 0:
            self.note(f"{occasion.title}: all is stopped; nothing is left to send")
            return 0
        if is_again and deadline is not None and deadline <= self.now():
            deadline = None
        if deadline is not None and deadline <= self.now():
            return self._miss(occasion, f"its time to finish by, {self.schedule.finish_by}, has passed")
        if resumes and not is_again and (code := find_end(results)) is not None:
            return self._end(occasion, results, Stopped(code))
        self.journal.append(make_entry(Event.STARTED, occasion, self.now(), results=results))
        self._tell(NoticeKind.STARTED, occasion, results=results)
        stopped = self.stop(Work(occasion, results, deadline, resumes=resumes, is_again=is_again))
        return self._end(occasion, results, stopped)

    def _end(self, occasion: Occasion, results: str, stopped: Stopped) -> int:
        code, verdict = stopped
        is_cut = code in INTERRUPTED
        event = Event.INTERRUPTED if is_cut else Event.ENDED
        where = results if Path(results).exists() else None
        fault = self._note(make_entry(event, occasion, self.now(), exit_code=code, results=where, note=verdict))
        if code == GUARD_EXIT:
            self._tell(NoticeKind.GUARD_ENDED, occasion, verdict, exit_code=code, results=where)
        read = ReadBack(0)
        try:
            if code in READ_BACK_AFTER and where is not None:
                read = self._read_back(occasion, results)
                code = code or min(read.exit_code, 1)
        finally:
            code = code or (GUARD_EXIT if fault else 0)
            text = "; ".join(filter(None, (fault, verdict, read.verdict if read.exit_code else "")))
            self._tell(NoticeKind.ENDED, occasion, text, exit_code=code, results=where)
        if not is_cut:
            self._keep()
        return code

    def _note(self, entry: Entry) -> str | None:
        """Append to the journal after the work is done; print and return the error, or None."""
        try:
            self.journal.append(entry)
        except OutputError as error:
            self.say(f"bulkstop: {error}")
            return str(error)
        return None

    def _read_back(self, occasion: Occasion, results: str) -> ReadBack:
        """Verify what still runs, `verify_s` after the end; return the findings."""
        if self.schedule.verify_s is None:
            return ReadBack(0)
        wait = format_duration(self.schedule.verify_s)
        self.note(f"{occasion.title}: waiting {wait}, then checking what still runs (verify)")
        self.sleep(self.schedule.verify_s)
        read = self.verify(results)
        entry = make_entry(
            Event.VERIFIED, occasion, self.now(), exit_code=read.exit_code, results=results, note=read.verdict
        )
        self._note(replace(entry, verification=read.facts))
        return read

    def _keep(self) -> None:
        """Tidy up; an error is printed, but does not fail the firing."""
        if self.schedule.keep_s is None:
            return
        today = self.now().astimezone(UTC).date()
        with suppress(FileNotFoundError):
            try:
                keep_results(
                    self.schedule.results,
                    self.schedule.name,
                    self.schedule.keep_s,
                    today,
                    deletes=self.schedule.keep_delete,
                )
            except OutputError as error:
                self.say(f"warning: {error}")

    def _tell(
        self,
        kind: NoticeKind,
        occasion: Occasion | None,
        text: str = "",
        *,
        exit_code: int | None = None,
        results: str | None = None,
    ) -> None:
        key = occasion.key if occasion else ""
        self.tell(Notice(kind, self.schedule.name, key, self.now(), text, exit_code, results))


class _Held:
    """A context with the lock, or with None if it was taken."""

    def __init__(self, lock: Lock | None) -> None:
        self._lock = lock

    def __enter__(self) -> Lock | None:
        return self._lock

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.free()


def find_end(results: str) -> int | None:
    """Return the exit code of a run by its manifest; None for a run that was interrupted."""
    manifest = Manifest.read(manifest_path(results))
    code = manifest.last.exit_code if manifest else None
    return None if code in INTERRUPTED else code


def _format_local(firing: Firing) -> str:
    return f"{firing.local:%Y-%m-%d %H:%M} {firing.zone}"
