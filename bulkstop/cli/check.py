"""`bulkstop check`: what a profile reaches, without stopping anything."""

import json
from dataclasses import replace
from typing import Any, cast

import click

from bulkstop.cli.files import use_store
from bulkstop.cli.naming import WordChoice
from bulkstop.cli.options import GroupedCommand, describe_way, read_settings, with_settings
from bulkstop.cli.terminal import print_last
from bulkstop.report.lists.check import format_check
from bulkstop.runs.lists.check import check, describe_settings
from bulkstop.settings.spec import CONNECTION, CREDENTIALS, INPUT, PATHS, QUOTA, RETRY_AFTER, SCOPE, TYPE
from bulkstop.source.inputs import Format

EXAMPLE = """\b
Example:
  bulkstop check campaigns.csv --profile prod

\b
Exit codes:
  0  the service was reached, took the token and gave its lists, and all rows of INPUT can be used
  1  something is in the way, and the last line says what
  2  usage or settings are wrong, or INPUT cannot be read; nothing was asked for
  3  standard output cannot be written
"""


@click.command("check", cls=GroupedCommand, epilog=EXAMPLE)
@click.argument("inputs", nargs=-1, metavar="[INPUT ...]")
@click.option(
    "--format",
    "fmt",
    type=WordChoice([form.value for form in Format]),
    help="Form of standard input, and of files whose name does not tell.",
)
@click.option("--json", "as_json", is_flag=True, help="Tell a machine: one JSON object on standard output.")
@with_settings(CONNECTION, CREDENTIALS, SCOPE, TYPE, INPUT, PATHS, QUOTA, RETRY_AFTER)
@click.pass_context
def command(ctx: click.Context, /, inputs: tuple[str, ...], fmt: str | None, *, as_json: bool, **_: object) -> int:
    """See what a profile reaches: host, token, scope, clock, quota store, and what runs now; nothing is stopped.

    A page of the service's list is read: of each type of the profile's account and stream, and of those of INPUT. Of
    INPUT it is also said what `stop` would read of it.
    """
    settings = use_store(read_settings(ctx))
    found = check(settings, inputs, fmt=fmt)
    facts = replace(describe_settings(settings), way=tuple(describe_way(settings)), **cast("dict[str, Any]", found))
    if as_json:
        return print_last(json.dumps(facts.as_dict()), facts.exit_code)
    return print_last("\n".join(format_check(facts)), facts.exit_code, is_for_a_person=True)
