"""The proof that a manifest and the lines of its file agree."""

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from bulkstop.errors import OutputError
from bulkstop.model import SIGNALS, Outcome, ScheduleState
from bulkstop.report.stop.formats import is_csv, read_header
from bulkstop.report.stop.ledger import BLOCK, Mark
from bulkstop.report.stop.manifest import Manifest, RunSection
from bulkstop.report.stop.resume import ResumeIndex, Stretch, open_results
from bulkstop.report.stop.stats import Stats
from bulkstop.report.stop.summary import ALL_SENT, StopSummary
from bulkstop.text import format_count

if TYPE_CHECKING:
    from hashlib import _Hash

BROKEN_OFF = "broken off: "
"""The start of a run's reason if an exception ended it."""
OF_WHAT_RUNS = frozenset({0, 1, 4})
"""The exit codes that depend, for a hold, on what ran at the end."""
GUARD_EXIT = 3
"""The exit code of a run that could not continue, for any reason."""
STEERED = (None, "drained", "aborted")
"""The ways in which a caller can end a run."""


class Proof(NamedTuple):
    """The result for a file and its manifest: one SHA-256 of both, and the evidence of a change, if any."""

    sha256: str
    flaw: str | None


def prove(index: ResumeIndex, manifest: Manifest) -> Proof:
    """Compare a result file with its manifest.

    They agree if every mark of the manifest is that of the file; if each line, by its position, is of the run that was
    to write it; and if each run's outcomes, rows, reason and exit code are those of its lines. Lines after the last
    mark can only be of a run that was killed, whose id they have.

    Raises OutputError for a file that cannot be read.
    """
    digest, flaw = _check_marks(index.path, manifest)
    return Proof(digest, flaw or next(_find_flaws(index, manifest), None))


def flaw_in(ledger: str, manifest: Manifest) -> str | None:
    """Return the evidence that lines of a result file were changed; None if everything vouched for is unchanged.

    Raises OutputError for a file that cannot be read.
    """
    return _check_marks(ledger, manifest)[1]


def _check_marks(ledger: str, manifest: Manifest) -> tuple[str, str | None]:
    """Return the SHA-256 of a file and its manifest, and the evidence that the file does not match its marks."""
    marks = manifest.marks
    measured = _measure(ledger, {mark.size for mark in marks})
    size, whole = measured[-1].size, measured[-1].hash.copy()
    whole.update(manifest.data)
    found, before = {each.size: each for each in measured}, 0
    for mark in marks:
        if mark.size not in found:
            return (
                whole.hexdigest(),
                f"it is shorter than the {format_count(mark.lines, 'line that was', 'lines that were')} written",
            )
        if found[mark.size].mark != mark:
            return whole.hexdigest(), _name_lines(
                before, mark.lines, "is not as it was written", "are not as they were written"
            )
        before = mark.lines
    if manifest.last.is_closed and size > marks[-1].size:
        last = f"line {marks[-1].lines:,}, the last one that was written"
        return whole.hexdigest(), f"something was added after {last}"
    return whole.hexdigest(), None


class _Beginning(NamedTuple):
    """The start of a file: its size, its hash, and its number of lines."""

    size: int
    hash: "_Hash"
    lines: int

    @property
    def mark(self) -> Mark:
        return Mark(self.size, self.lines, self.hash.hexdigest())


def _measure(path: str, sizes: set[int]) -> list[_Beginning]:
    """Return the starts of a file with these sizes, as far as it has them, and the whole of it, reading it once."""
    try:
        with open_results(path) as file:
            ends = sorted({size for size in sizes if size >= 0} | {os.fstat(file.fileno()).st_size})
            lines = -1 if is_csv(path) and read_header(file.readline()) else 0
            file.seek(0)
            measured, digest, at = [], sha256(), 0
            for end in ends:
                while at < end and (block := file.read(min(BLOCK, end - at))):
                    digest.update(block)
                    at += len(block)
                    lines += block.count(b"\n")
                if at < end:
                    break
                measured.append(_Beginning(end, digest.copy(), max(lines, 0)))
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror})") from None
    return measured or [_Beginning(at, digest, max(lines, 0))]


class _Share(NamedTuple):
    """The lines of a file that belong to a run by position: after `begin`, up to `end`."""

    number: int
    section: RunSection
    begin: int
    end: int


def _share_out(index: ResumeIndex, manifest: Manifest) -> list[_Share]:
    """Return the lines of each run: those after what was proven and taken over when it started."""
    begins, proven = [], 0
    for section in manifest.proven:
        begins.append(proven + section.taken_over)
        proven = section.mark.lines if section.mark else proven
    ends = [*begins[1:], index.lines]
    first = len(manifest.sections) - len(begins) + 1
    rows = zip(manifest.proven, begins, ends, strict=True)
    return [_Share(number, *row) for number, row in enumerate(rows, start=first)]


def _find_flaws(index: ResumeIndex, manifest: Manifest) -> Iterator[str]:
    shares = _share_out(index, manifest)
    first, last = shares[0], shares[-1]
    if first.begin and first.section.trusted is None:
        yield f"its first {format_count(first.begin, 'line is', 'lines are')} of no run in {manifest.path}"
    stretches, at = deque(index.stretches), 0
    while stretches and at < first.begin:
        at += stretches.popleft().lines
    written = Stretch(last.section.run_id)
    for share in shares:
        written = stretches.popleft() if share.end > share.begin and stretches else Stretch(share.section.run_id)
        if flaw := _find_foreign(share, written, manifest):
            yield flaw
            return
        yield from _judge(share, written)
    yield from _judge_rows(index, last, written)


def _name_lines(begin: int, end: int, one: str, many: str) -> str:
    """Return the lines from `begin` (counted from 0) to `end`, with a predicate for one or for many."""
    return f"line {end:,} {one}" if end == begin + 1 else f"lines {begin + 1:,} to {end:,} {many}"


def _find_foreign(share: _Share, written: Stretch, manifest: Manifest) -> str | None:
    """Return why the lines in a run's part of the file are not those of that run."""
    if written.run_id not in {section.run_id for section in manifest.sections}:
        return f"line {share.begin + 1:,} is of a run that {manifest.path} does not have"
    if (written.run_id, written.lines) != (share.section.run_id, share.end - share.begin):
        lines = _name_lines(share.begin, share.end, "is not the one", "are not those")
        return f"{lines} that run {share.number} wrote there"
    return None


def _judge(share: _Share, written: Stretch) -> Iterator[str]:
    """Yield the contradictions between a run's section and its lines."""
    run, section = f"run {share.number}", share.section
    if written.lines > section.rows - section.ended_before.total():
        yield f"{run} has {format_count(written.lines, 'line')}, more than it had rows"
    lines = Counter({outcome.value: count for outcome, count in written.outcomes.items()})
    if section.exit_code is None:
        if section.outcomes is not None or (section.is_closed and not (section.reason or "").startswith(BROKEN_OFF)):
            yield f"{run} ended without an exit code"
    elif section.outcomes != lines:
        counts = ", ".join(f"{count:,} {name}" for name, count in lines.items()) or "none"
        yield f"{run} has other outcomes in its lines ({counts}) than in the manifest"
    elif not _fits(section, written):
        yield f"{run} did not end with exit code {section.exit_code} ({section.reason}) by the outcomes in its lines"


def _judge_rows(index: ResumeIndex, last: _Share, written: Stretch) -> Iterator[str]:
    """Yield the contradictions between the state of all rows and what the last run reported, if it did."""
    section = last.section
    if index.rows - index.keyed > section.rows:
        lines = format_count(index.rows, "has a line", "have a line")
        yield f"{format_count(section.rows, 'row was', 'rows were')} planned, {lines}"
    if section.exit_code is None or index.keyed or written.lines + section.ended_before.total() != section.rows:
        return
    now = Counter({outcome.value: count for outcome, count in index.latest.items() if count})
    if now != section.ended_before + Counter({outcome.value: count for outcome, count in written.outcomes.items()}):
        yield f"run {last.number} found other rows ended, by the lines before it, than the manifest has"


def _fits(section: RunSection, written: Stretch) -> bool:
    """Return whether a run with these lines can have that reason and exit code."""
    stats = Stats()
    stats.outcomes = written.outcomes
    stats.schedules[ScheduleState.FAILED] = written.schedules_failed
    settled = {Outcome(name): count for name, count in section.ended_before.items() if name in set(Outcome)}
    usual = StopSummary(stats, section.rows, 0, 0.0, "", settled=settled)
    ends = [
        replace(usual, signum=signum, out_of_time=late, ended=steered)
        for signum, late, steered in product((None, *SIGNALS), (False, True), STEERED)
    ]
    if section.exit_code == GUARD_EXIT:
        return section.reason is not None and section.reason not in {end.reason for end in ends}
    return any(_may_end_with(section, end.exit_code) and section.reason in _list_reasons(end) for end in ends)


def _may_end_with(section: RunSection, code: int) -> bool:
    """Return whether a run whose lines yield an exit code may have the one in its section.

    A hold's exit code depends on what ran at the end, which its lines do not show.
    """
    return section.exit_code == code or (section.is_hold and {section.exit_code, code} <= OF_WHAT_RUNS)


def _list_reasons(end: StopSummary) -> tuple[str, ...]:
    """Return the possible reasons for such an end, including those of earlier versions."""
    before = replace(end, signum=None).reason  # the time to finish by came before the signal
    return end.reason, end.reason.replace(", after all", ", before all"), *([before] if before != ALL_SENT else [])
