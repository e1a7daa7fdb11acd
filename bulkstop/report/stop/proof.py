"""What a manifest and the lines of its file prove of one another."""

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
"""How the reason begins of a run that an exception has ended."""
OF_WHAT_RUNS = frozenset({0, 1, 4})
"""The exit codes among which what ran in the end decides, where the run was a hold."""
GUARD_EXIT = 3
"""The exit code of a run that could not go on, whatever was the reason."""
STEERED = (None, "drained", "aborted")
"""How whoever steers a run can end it."""


class Proof(NamedTuple):
    """What a file and its manifest were found to be: one SHA-256 of both, and what shows a change, if anything does."""

    sha256: str
    flaw: str | None


def prove(index: ResumeIndex, manifest: Manifest) -> Proof:
    """Hold a result file and its manifest against each other.

    Both agree where every mark of the manifest is that of the file; where each line is of the run that was to write
    it, as its place tells; and where each run's outcomes, rows, reason and exit code are those of its lines. What
    stands behind the last mark can only be of the run that was killed: it has the id of that run.

    Raises OutputError for a file that cannot be read.
    """
    digest, flaw = _check_marks(index.path, manifest)
    return Proof(digest, flaw or next(_find_flaws(index, manifest), None))


def flaw_in(ledger: str, manifest: Manifest) -> str | None:
    """Say what shows that lines of a result file are not as they were written, or None when all that is vouched for is.

    Raises OutputError for a file that cannot be read.
    """
    return _check_marks(ledger, manifest)[1]


def _check_marks(ledger: str, manifest: Manifest) -> tuple[str, str | None]:
    """Return the SHA-256 of a file and its manifest, and what shows that the file is not the one that was marked."""
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
    """The first bytes of a file: so many, their hash, and the lines in them."""

    size: int
    hash: "_Hash"
    lines: int

    @property
    def mark(self) -> Mark:
        return Mark(self.size, self.lines, self.hash.hexdigest())


def _measure(path: str, sizes: set[int]) -> list[_Beginning]:
    """Read a file once, and measure its beginnings of these sizes, as far as it has them, and the whole of it."""
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
    """The lines of a file that are a run's by their place: from the one after `begin` to that of `end`."""

    number: int
    section: RunSection
    begin: int
    end: int


def _share_out(index: ResumeIndex, manifest: Manifest) -> list[_Share]:
    """Tell which lines each run has written: those after what was vouched for and taken over when it began."""
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
    """Name the lines from `begin`, which counts from 0, to `end`, with what is said of one or of many."""
    return f"line {end:,} {one}" if end == begin + 1 else f"lines {begin + 1:,} to {end:,} {many}"


def _find_foreign(share: _Share, written: Stretch, manifest: Manifest) -> str | None:
    """Say why the lines that stand where a run has written are not those of that run."""
    if written.run_id not in {section.run_id for section in manifest.sections}:
        return f"line {share.begin + 1:,} is of a run that {manifest.path} does not have"
    if (written.run_id, written.lines) != (share.section.run_id, share.end - share.begin):
        lines = _name_lines(share.begin, share.end, "is not the one", "are not those")
        return f"{lines} that run {share.number} wrote there"
    return None


def _judge(share: _Share, written: Stretch) -> Iterator[str]:
    """Hold what is said of a run against its lines."""
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
    """Hold how all rows stand against what the last run found and did, where it has told of each row."""
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
    """Tell whether a run of such lines can have ended for that reason, with that exit code."""
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
    """Tell whether a run whose lines come to an exit code may have had the one that it has.

    That of a hold says what ran in the end, which is in none of its lines.
    """
    return section.exit_code == code or (section.is_hold and {section.exit_code, code} <= OF_WHAT_RUNS)


def _list_reasons(end: StopSummary) -> tuple[str, ...]:
    """Return the reasons that such an end has, those that earlier versions gave for it among them."""
    before = replace(end, signum=None).reason  # the time to finish by went before the signal
    return end.reason, end.reason.replace(", after all", ", before all"), *([before] if before != ALL_SENT else [])
