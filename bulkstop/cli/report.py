"""`bulkstop report`: a result file summed up and checked."""

import shlex
from pathlib import Path

import click

from bulkstop.cli.again import rebuild_recorded
from bulkstop.cli.terminal import print_last
from bulkstop.report.stop.manifest import RunSection
from bulkstop.report.stop.summary import format_counts
from bulkstop.runs.review import Review, review_results
from bulkstop.text import format_count, format_table, printable

EXAMPLE = """\b
Example:
  bulkstop report campaigns.csv.results.jsonl --check

\b
Exit codes:
  0    told; with --check: every line is as it was written, and every row has one
  1    --check: it is not proven, and the line "check" says why
  2    usage is wrong, or a file cannot be read
  3    standard output cannot be written
"""


@click.command("report", epilog=EXAMPLE)
@click.argument("paths", nargs=-1, required=True, metavar="RESULTS [RESULTS ...]")
@click.option("--check", is_flag=True, help="Fail unless the manifest proves each file whole and unaltered.")
def command(*, paths: tuple[str, ...], check: bool) -> int:
    """Sum result files up: the latest outcome of each row, what is left, and the runs that wrote them."""
    reviews = [review_results(path, check=check) for path in paths]
    code = 1 if check and any(each.flaws for each in reviews) else 0
    return print_last("\n".join(line for each in reviews for line in format_review(each)), code, is_for_a_person=True)


def format_review(of: Review) -> list[str]:
    """Write what a result file says."""
    rows = [*format_counts(of.outcomes), ("rows", f"{of.rows:,} in {format_count(of.lines, 'line')}")]
    if of.open_rows:
        rows.append(("not ended", f"{of.open_rows:,}"))
        if command := command_to_go_on(of):
            rows.append(("to go on", command))
    rows += [(f"run {number}", _format_run(run)) for number, run in enumerate(of.runs, start=1)]
    if of.sha256:
        rows.append(("SHA-256", of.sha256))
    rows += [("check", f"FAILED: {flaw}") for flaw in of.flaws] or [("check", "every line is as it was written")]
    return format_table(printable(of.path), rows)


def _format_run(run: RunSection) -> str:
    end = run.reason or "no end noted" if run.exit_code is None else f"{run.reason} (exit code {run.exit_code})"
    return printable(f"{run.began_at}, {run.user} on {run.machine}: {end}")


def command_to_go_on(of: Review) -> str:
    """Write the command that goes on with a result file, as its last run was typed; empty where nothing says it."""
    words = of.runs[-1].facts.get("command") if of.runs else None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or words[1:2] != ["stop"]:
        return ""
    from bulkstop.cli.stop.command import command as stop  # here, because most results have ended

    folder = of.runs[-1].facts.get("folder")
    there = f"cd {shlex.quote(folder)} && " if isinstance(folder, str) and folder != str(Path.cwd()) else ""
    drop = {"overwrite", "resume", "retry", "retry_failed"}
    list_again = "with the same list on its standard input: " if "-" in words else ""
    return list_again + there + rebuild_recorded(words, stop, drop=drop, add=["--resume"])
