"""Sums up a result file, and checks it against its manifest."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from bulkstop.errors import OutputError
from bulkstop.model import Outcome, Result
from bulkstop.report.hold import count_campaigns
from bulkstop.report.stop.formats import read_lines
from bulkstop.report.stop.manifest import Manifest, RunSection, manifest_path
from bulkstop.report.stop.proof import Proof, prove
from bulkstop.report.stop.resume import ResumeIndex, is_final, open_results
from bulkstop.text import format_count


@dataclass(frozen=True, slots=True)
class Review:
    """The summary of a result file: the latest outcome of each row, its lines, and the runs that wrote it.

    `open_rows` counts the rows that have not ended, for a file of `hold` the campaigns; `flaws` are reasons why the
    file is not proven complete and unchanged. `sha256` covers the file followed by its manifest.
    """

    path: str
    outcomes: Mapping[Outcome, int]
    rows: int
    lines: int
    open_rows: int
    runs: tuple[RunSection, ...]
    flaws: tuple[str, ...]
    sha256: str | None = None
    campaigns: Mapping[Outcome, int] | None = None
    """For a file of `hold`, which has a row for each sighting: the number of campaigns with each latest outcome."""


def review_results(path: str, *, check: bool = False) -> Review:
    """Return the review of a result file and its manifest; raises OutputError if one of them cannot be read.

    With `check`, a broken line is a flaw instead of an error, if there is a manifest.
    """
    manifest = Manifest.read(manifest_path(path))
    runs = manifest.sections if manifest else ()
    try:
        past = ResumeIndex(path)
    except OutputError as flaw:
        if not check or manifest is None:
            raise
        return Review(path, {}, 0, 0, 0, runs, (str(flaw),))
    listed = runs[-1].rows if runs else past.rows
    open_rows = past.rows - past.final + max(0, listed - past.rows)
    campaigns = None
    if runs and runs[-1].is_hold:
        latest = read_latest_sightings(path)
        campaigns = count_campaigns(each.outcome for each in latest)
        open_rows = sum(not is_final(each) for each in latest) + max(0, listed - past.rows)
    counts = path, past.latest, past.rows, past.lines, open_rows, runs
    if manifest is None:
        return Review(*counts, (f"there is no {manifest_path(path)} to check it against",))
    proof = prove(past, manifest)
    return Review(*counts, tuple(_flaws(past, manifest, proof)), proof.sha256, campaigns)


def read_latest_sightings(path: str) -> Collection[Result]:
    """Return the latest line of each campaign in a file of `hold`, which may have several."""
    latest: dict[tuple[object, ...], Result] = {}
    with open_results(path) as file:
        for result in (line.result for line in read_lines(file, path)):
            if result is not None:
                profile = (result.row or {}).get("profile")
                key = (profile, result.account_id, result.stream_id, result.campaign_id)
                latest[key] = replace(result, row=None)
    return latest.values()


def _flaws(index: ResumeIndex, manifest: Manifest, proof: Proof) -> list[str]:
    flaws = []
    marks = manifest.marks
    proven = marks[-1].lines if marks else 0
    if (first := manifest.proven[0]).trusted is not None:
        trusted = (
            f"the first {format_count(first.taken_over, 'line was', 'lines were')} "
            f"taken on trust by the run of {first.began_at}"
        )
        flaws.append(f"{trusted}: {first.trusted}")
    if proof.flaw:
        flaws.append(proof.flaw)
    elif index.lines > proven:
        count = index.lines - proven
        flaws.append(
            f"the last {format_count(count, 'line is', 'lines are')} not "
            "vouched for: the run that wrote them was killed, or still runs"
        )
    listed = manifest.last.rows
    if index.rows < listed:
        lines = format_count(index.rows, "has a line", "have a line")
        flaws.append(f"{format_count(listed, 'row was', 'rows were')} planned, {lines}")
    return flaws
