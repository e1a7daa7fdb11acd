"""The journal of a run: its result file, kept together with its manifest."""

import getpass
import os
import platform
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bulkstop.errors import BulkstopError, InputError, OutputError, SettingsError
from bulkstop.files.whole import is_device
from bulkstop.model import FAILED, WORTH_A_RETRY, Campaign, Outcome, Result, Row, utc_text
from bulkstop.naming import name_setting
from bulkstop.outbox import Outbox
from bulkstop.redact import HIDDEN
from bulkstop.report.stop.ledger import Ledger, Mark, Mode
from bulkstop.report.stop.loss import Rescue
from bulkstop.report.stop.manifest import (
    Manifest,
    NewerManifestError,
    RunSection,
    check_writable,
    manifest_path,
    unreadable,
)
from bulkstop.report.stop.proof import prove
from bulkstop.report.stop.resume import ResumeIndex, is_final
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs.options import NEEDS_A_CHOICE, format_outcome_counts, format_outcomes, retry_option
from bulkstop.runs.stop.plan import make_plan
from bulkstop.settings import OPTION_SPECS, Settings, is_hidden
from bulkstop.settings.exposure import may_hold_secret
from bulkstop.settings.targets import Profiles
from bulkstop.source.digest import Digest
from bulkstop.source.plan import Plan
from bulkstop.text import printable
from bulkstop.version import __version__

FILL_ROWS = ("type", "account_id", "stream_id", "iid", "any_id", "encoding", "no_header", "id_column")
"""Settings that complete a row, and so change its meaning."""


def choose_mode(*, overwrite: bool, resume: bool) -> Mode:
    """Return what happens to an existing result file; raises SettingsError for options that conflict."""
    if overwrite and resume:
        going_on = f"{name_setting('resume')} and {name_setting('retry_failed')}"
        why = f"throws away what {going_on} go on with, and {name_setting('retry')}"
        raise SettingsError(f" {why}; give one", setting="overwrite")
    return Mode.RESUME if resume else Mode.OVERWRITE if overwrite else Mode.NEW


class RunJournal:
    """The record of a run: the result file, and its manifest, which says who wrote it, when, and with which settings.

    With `Mode.RESUME` an existing file is locked and read at once, into `past`; otherwise `open` opens it. Rows with an
    outcome in `retry` are sent again. Raises OutputError for a file that cannot be used, is in use, or has changed;
    `trust` continues a file that nothing proves.
    """

    def __init__(
        self, path: str, *, mode: Mode = Mode.NEW, retry: Set[Outcome] = frozenset(), trust: bool = False
    ) -> None:
        self.path = path
        self.past: ResumeIndex | None = None
        self.rescue: Rescue | None = None
        self.failed: Counter[Outcome] = Counter()
        self._retry = retry
        self._mode = mode
        self._trust = trust
        self._doubt: str | None = None
        self._ledger: Ledger | None = None
        self._manifest: Manifest | None = None
        self._section: dict[str, Any] = {}
        self._fault: BulkstopError | None = None
        if mode is Mode.RESUME:
            self._resume()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; unless `end` was called, the manifest says that the run was broken off."""
        self._close()
        self._note(None if kind is None else f"broken off: {kind.__name__}")

    def plan(
        self,
        inputs: Sequence[str] | Iterable[Campaign],
        settings: Settings,
        *,
        fmt: str | None = None,
        profiles: Profiles | None = None,
    ) -> Plan:
        """Plan a run of these inputs; rows that have ended by the file are not sent.

        `profiles` are those that rows may name. Raises InputError for an input that cannot be read or has changed,
        SettingsError for another host, and for a finished run without remaining rows: otherwise sending a new list
        under the same name every day would do nothing unnoticed.
        """
        if self.past is None:
            return make_plan(inputs, settings, fmt=fmt, profiles=profiles)
        settled = partial(self.past.settled, retry=self._retry)
        plan = self._plan_again(self.past, inputs, settings, fmt, settled, profiles=profiles)
        try:
            self._check_left(plan)
        except BaseException:
            plan.close()
            raise
        return plan

    def plan_unwritten(
        self,
        inputs: Sequence[str],
        settings: Settings,
        note: Callable[[Row, Outcome | None], object],
        *,
        profiles: Profiles | None = None,
    ) -> Plan:
        """Plan the rows without a line of a list that may name a campaign repeatedly.

        `note` gets each row with the outcome of its latest line. Raises the errors of `plan`, except for a finished
        run.
        """
        past = self.past

        def settled(row: Row) -> Outcome | None:
            outcome = None if past is None else past.written(row)
            note(row, outcome)
            return outcome

        if past is None:
            return make_plan(inputs, settings, settled=settled, repeats=True, profiles=profiles)
        return self._plan_again(past, inputs, settings, None, settled, repeats=True, profiles=profiles)

    def _plan_again(
        self,
        past: ResumeIndex,
        inputs: Sequence[str] | Iterable[Campaign],
        settings: Settings,
        fmt: str | None,
        settled: Callable[[Row], Outcome | None],
        *,
        repeats: bool = False,
        profiles: Profiles | None = None,
    ) -> Plan:
        """Plan what is left of unchanged inputs, for the same host."""
        host = self._manifest.last.settings.get("host", settings.host) if self._manifest else settings.host
        if host != settings.host:
            other = f"give that, or another {name_setting('output')}"
            raise SettingsError(f" {settings.host}: {self.path} is of a run at {host}; {other}", setting="host")
        try:
            plan = make_plan(
                inputs,
                settings,
                fmt=fmt,
                settled=settled,
                find_unusable=past.find_unusable,
                recorded=self._read_digests(),
                profiles=profiles,
                repeats=repeats,
                now=self._find_beginning(),
            )
        except InputError as error:
            raise InputError(f"{error}{self._other_defaults(settings)}") from None
        try:
            past.check_all_met()
        except BaseException:
            plan.close()
            raise
        return plan

    def _find_beginning(self) -> float | None:
        """Return when the first run of the file began; its times of day are not moved to the next day."""
        with suppress(ValueError):
            return datetime.fromisoformat(self._manifest.sections[0].began_at).timestamp() if self._manifest else None
        return None

    def _check_left(self, plan: Plan) -> None:
        """Raise SettingsError for a finished run, if the inputs have no remaining or new row."""
        last = self._manifest.last if self._manifest else None
        if last is None or not last.ended_at or last.exit_code not in (0, 1) or sum(plan.settled.values()) < plan.rows:
            return
        again = f", nor is anything {format_outcomes(self._retry)}" if self._retry else ""
        anew = f"give {name_setting('output')} with the date in its name, or {name_setting('overwrite', True)}"
        raise SettingsError(
            f"{self.path}: its run finished at {printable(last.ended_at)} "
            f"({format_outcome_counts(plan.settled, Outcome)}); nothing is left to send{again}. To stop the list once "
            f"more {anew}; what failed is sent again by {_ways_to_retry(plan.settled)}"
        )

    def _other_defaults(self, settings: Settings) -> str:
        """Return which settings that complete rows have changed since the last run, so that every row has changed."""
        was = self._manifest.last.settings if self._manifest else {}
        names = [name for name in FILL_ROWS if name in was and was[name] != getattr(settings, name)]
        return "".join(f"; {name_setting(name)} was {was[name]} then" for name in names)

    def open(self, plan: Plan, settings: Settings, command: Sequence[str], run_id: str) -> None:
        """Open and lock the file unless it is open; nothing is written before the first result.

        Also raises OutputError for a file that was created since its absence was found.
        """
        self._section = _section(plan, settings, command, run_id)
        if self._ledger is None:
            self._ledger = self._open_ledger(Mode.NEW if self._mode is Mode.RESUME else self._mode)
        if self._ledger.is_file:
            check_writable(manifest_path(self.path))
        self._ledger.start_thread()

    def extend(self, plan: Plan) -> None:
        """Add the rows of a plan to the planned rows, because a file with more lines than rows proves nothing.

        Raises OutputError if the manifest cannot be written.
        """
        was, more = self._section["plan"], _count_rows(plan)
        not_sent = Counter(was["not_sent"]) + Counter(more["not_sent"])
        sums = {name: was[name] + more[name] for name in ("rows", "to_send")}
        self._section["plan"] = was | sums | {"not_sent": dict(not_sent)}
        self._section["inputs"] = self._section["inputs"] or _list_inputs(plan)
        if self._manifest is not None and self._ledger is not None and self._ledger.is_begun:
            self._manifest.extend({name: self._section[name] for name in ("plan", "inputs")})

    def check_open(self) -> None:
        """Raise the error that `open` would, without leaving changes; a device or pipe is not opened for that."""
        if self.path == "-" or (is_device(self.path) and os.access(self.path, os.W_OK)):
            return
        if self._ledger is None:
            self._open_ledger(Mode.NEW if self._mode is Mode.RESUME else self._mode).close()
        if not is_device(self.path):
            check_writable(manifest_path(self.path))

    def write(self, results: Sequence[Result]) -> None:
        """Append result lines; raises OutputError, with none of them appended, unless all are written."""
        assert self._ledger is not None, "written before open"  # noqa: S101 - a mistake of the caller
        self._ledger.write(*results)
        for result in results:
            if result.outcome in FAILED and is_final(result):
                self.failed[result.outcome] += 1

    def watch(self) -> None:
        """Raise OutputError if the file was moved, deleted or changed, because further lines would be lost."""
        if self._ledger is not None:
            self._ledger.look()

    def end(self, summary: StopSummary) -> StopSummary:
        """Close the file, record how the run ended, and return the summary with any error of that."""
        self._begin_after_all()
        summary = self._rescue_lost(summary)
        self._close()
        ended = self._with_fault(self._with_missing(summary))
        self._note(ended.reason, **_end_fields(ended))
        return self._with_fault(ended)

    @property
    def recorded_inputs(self) -> Collection[str]:
        """The names of the inputs of the earlier run, from the manifest."""
        return self._manifest.last.inputs if self._manifest else ()

    @property
    def was_opened(self) -> bool:
        """Return whether `open` was called."""
        return bool(self._section)

    @property
    def is_file(self) -> bool:
        """Return whether the results go to a file, so that others can be beside it."""
        return self._ledger is not None and self._ledger.is_file

    @property
    def outboxes(self) -> tuple[Outbox[Result | None], ...]:
        """The outboxes of the lines, if a reader may block them."""
        return () if self._ledger is None or self._ledger.outbox is None else (self._ledger.outbox,)

    @property
    def mark(self) -> Mark | None:
        """The size and SHA-256 of the file, or of its rescued copy; None for no file or a lost one."""
        is_kept = self._ledger is not None and self._ledger.is_file and (self.rescue is None or self.rescue.is_whole)
        return self._ledger.mark if self._ledger is not None and is_kept else None

    @property
    def digest(self) -> str | None:
        """The SHA-256 of the file followed by its manifest; None for no file or a lost one."""
        if self._ledger is None or self._manifest is None or self.mark is None:
            return None
        return self._ledger.digest_with(self._manifest.data)

    def _rescue_lost(self, summary: StopSummary) -> StopSummary:
        """Check the file a last time; save lines that it has lost, and add the fault to the summary."""
        try:
            self.watch()
        except OutputError as error:
            self._fault = self._fault or error
        self.rescue = self._ledger.rescue() if self._ledger is not None else None
        if self.rescue is None or self._ledger is None:
            return summary
        faults = [*([str(summary.fault)] if summary.fault else []), str(self._ledger.lost), self.rescue.words]
        return replace(summary, fault=OutputError("; ".join(dict.fromkeys(faults))), lost=self.rescue.gone)

    def _resume(self) -> None:
        if self.path == "-" or is_device(self.path):
            raise OutputError(
                f": {self.path} cannot be resumed, because it keeps nothing; give {name_setting('output', 'FILE')}",
                setting="resume",
            )
        if not os.path.lexists(self.path):
            if Path(beside := manifest_path(self.path)).exists():
                raise OutputError(
                    f"{self.path}: does not exist, but {beside} does; restore the first or remove the second"
                )
            return
        self._ledger = self._open_ledger(self._mode)
        try:
            self._manifest = _read_manifest(self.path, trust=self._trust)
            self.past = ResumeIndex(self.path)
            self._doubt = self._find_doubt(self._ledger, self.past)
            self._ledger.go_on_at(self.past.size, self.past.lines, self.past.columns)
        except BaseException:
            self._ledger.close()
            raise

    def _find_doubt(self, ledger: Ledger, past: ResumeIndex) -> str | None:
        """Return why the file needs `trust`, or None; raises OutputError if that is not set."""
        of_manifest = self._manifest.others if self._manifest else None
        doubt, remedy = ledger.others_who_write(), "make it yours alone"
        if doubt is None and of_manifest is not None:
            doubt = f"of its manifest {manifest_path(self.path)}: {of_manifest}"
        elif doubt is None and self._manifest is not None:
            doubt, remedy = prove(past, self._manifest).flaw, "restore it"
        elif doubt is None and past.lines:
            doubt, remedy = f"there is no {manifest_path(self.path)} to prove its lines", "restore that"
        if doubt is None or self._trust:
            return doubt
        trusted = f"or give {name_setting('trust_results', True)} to go on with it as it is"
        raise OutputError(f"{self.path}: {doubt}; {remedy}, {trusted}")

    def _read_digests(self) -> dict[str, Digest]:
        if self._manifest is None:
            return {}
        try:
            return {name: Digest.of(record) for name, record in self._manifest.last.inputs.items()}
        except ValueError:
            raise unreadable(self._manifest.path) from None

    def _open_ledger(self, mode: Mode) -> Ledger:
        return Ledger(self.path, mode=mode, holder=self._holder, begin=self._begin, vouch=self._vouch)

    def _holder(self, pid: int | None) -> str:
        """Return who has the lock, from the manifest if that is of the current run."""
        with suppress(OutputError):
            manifest = Manifest.read(manifest_path(self.path))
            if manifest and (run := manifest.last).ended_at is None and pid in (None, run.pid):
                return f" (process {run.pid} of {run.user} on {run.machine}, since {run.began_at})"
        return "" if pid is None else f" (process {pid})"

    def _begin(self) -> None:
        earlier = self._manifest.sections if self._manifest and self.past else ()
        section = RunSection.read(self._section | self._count_taken_over())
        self._manifest = Manifest(manifest_path(self.path), earlier)
        self._manifest.begin(section)

    def _begin_after_all(self) -> None:
        """Write the section of a resumed run without new lines, which vouches for the lines of a killed run."""
        if self._ledger is not None and self.past is not None:
            try:
                self._ledger.begin()
            except OutputError as fault:
                self._fault = fault

    def _count_taken_over(self) -> dict[str, Any]:
        """Return the lines of a killed run after its last mark that this run vouches for; all, if they are trusted."""
        if self.past is None:
            return {}
        marks = self._manifest.marks if self._manifest and self._doubt is None else []
        lines = self.past.lines - (marks[-1].lines if marks else 0)
        trusted = {} if self._doubt is None else {"trusted": self._doubt}
        return trusted | ({"unproven_lines_taken_over": lines} if lines else {})

    def _vouch(self, mark: Mark) -> None:
        if self._manifest is not None:
            self._manifest.vouch(mark)

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._fault = self._fault or self._ledger.fault

    def _note(self, reason: str | None, **how: Any) -> None:
        """Record the end of the run once, and whether the manifest vouches for all of the file."""
        ledger, manifest = self._ledger, self._manifest
        if ledger is None or manifest is None or not ledger.is_begun or manifest.last.ended_at:
            return
        closed = manifest.last.mark == ledger.mark and not ledger.is_torn
        try:
            manifest.end(ended_at=utc_text(time.time()), reason=reason, closed=closed, **how)
        except OutputError as fault:
            self._fault = self._fault or fault

    def _with_missing(self, summary: StopSummary) -> StopSummary:
        """Add the lines that were not read to the summary."""
        if self._ledger is None or not self._ledger.missing:
            return summary
        unwritten = (*self._ledger.unwritten, *summary.unwritten)
        return replace(summary, unwritten=unwritten, unread=self._ledger.missing)

    def _with_fault(self, summary: StopSummary) -> StopSummary:
        return summary if summary.fault or not self._fault else replace(summary, fault=self._fault)


def _ways_to_retry(ended: Mapping[Outcome, int]) -> str:
    """Return the options that send again what failed, with what each would send."""
    ways = f"{name_setting('retry_failed', True)} ({format_outcome_counts(ended, WORTH_A_RETRY) or 'nothing to retry'})"
    chosen = [each for each in NEEDS_A_CHOICE if ended.get(each)]
    return f"{ways} or {retry_option(chosen)} ({format_outcome_counts(ended, chosen)})" if chosen else ways


def _read_manifest(path: str, *, trust: bool) -> Manifest | None:
    """Return the manifest of a result file; with `trust`, None for one that cannot be read."""
    try:
        return Manifest.read(manifest_path(path))
    except NewerManifestError:
        raise
    except OutputError:
        if trust:
            return None
        raise


def _section(plan: Plan, settings: Settings, command: Sequence[str], run_id: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "version": __version__,
        "command": list(command),
        "user": _user(),
        "machine": socket.gethostname(),
        "pid": os.getpid(),
        "folder": _folder(),
        "python": platform.python_version(),
        "began_at": utc_text(time.time()),
        "settings": _show_settings(settings),
        "inputs": _list_inputs(plan),
        "plan": _count_rows(plan),
    }


def _list_inputs(plan: Plan) -> dict[str, Any]:
    return {source: asdict(digest) for source, digest in plan.digests.items()}


def _count_rows(plan: Plan) -> dict[str, Any]:
    return {
        "rows": plan.rows,
        "to_send": plan.to_send,
        "not_sent": {outcome.value: count for outcome, count in plan.held.items()},
        "ended_before": {outcome.value: count for outcome, count in plan.settled.items()},
    }


def _end_fields(summary: StopSummary) -> dict[str, Any]:
    return {
        "exit_code": summary.exit_code,
        "outcomes": {outcome.value: count for outcome, count in summary.stats.outcomes.items()},
        "calls": summary.calls,
        "elapsed_s": round(summary.elapsed_s, 3),
    }


def _show_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings in use; possible secrets are hidden."""
    values: dict[str, Any] = {}
    for name in OPTION_SPECS:
        value = getattr(settings, name)
        if isinstance(value, tuple):
            value = HIDDEN if value and is_hidden(name) else [str(item) for item in value]
        values[name] = HIDDEN if isinstance(value, str) and may_hold_secret(name, value) else value
    return values


def _folder() -> str | None:
    with suppress(OSError):
        return os.getcwd()  # noqa: PTH109 - it is only shown
    return None  # the folder was removed


def _user() -> str:
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return str(os.getuid())
