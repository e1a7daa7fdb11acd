"""The options of `bulkstop stop`, apart from the settings."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from bulkstop.cli.files import RESULTS
from bulkstop.cli.log import with_log
from bulkstop.cli.options import ParsedText, with_options, with_settings
from bulkstop.cli.words.naming import WordChoice
from bulkstop.errors import SettingsError
from bulkstop.model import WORTH_A_RETRY, CampaignType, Outcome
from bulkstop.naming import name_setting
from bulkstop.runs.options import format_outcomes, outcomes_to_retry, parse_expected
from bulkstop.settings import GROUPS, OPTION_SPECS
from bulkstop.settings.load import variable_of
from bulkstop.settings.parse import parse_campaign_type
from bulkstop.settings.spec import TYPE
from bulkstop.source.forms.format import Format

if TYPE_CHECKING:
    from bulkstop.report.stop.ledger import Mode

TYPES = "bulkstop.types"
"""Key of a click context: the types in --type, if there are several."""


class StopOptions(NamedTuple):
    """The options of `stop`, apart from the settings."""

    inputs: tuple[str, ...]
    running: bool
    wanted: tuple[str, ...] | None
    priority: tuple[int, ...] | None
    name: str | None
    calling_hours: bool
    output: str | None
    fmt: str | None
    expect: tuple[int, int] | None
    resume: bool
    retry_failed: bool
    retry: tuple[str, ...]
    overwrite: bool
    trust_results: bool
    strict: bool
    dry_run: bool
    yes: bool
    as_json: bool
    reads_back: bool
    quiet: bool
    log_level: str
    log_json: bool
    profile: str | None
    target: str = ""
    """The result file, by default named after the first input."""

    @property
    def asks(self) -> bool:
        """Whether a person must confirm the plan."""
        return not self.yes and self.expect is None

    @property
    def outcomes_to_retry(self) -> frozenset[Outcome]:
        """The outcomes of an earlier run that are sent again; raises SettingsError for one that never is."""
        return outcomes_to_retry(self.retry, retry_failed=self.retry_failed)

    @property
    def goes_on(self) -> bool:
        """Whether the run continues a result file."""
        return self.resume or self.trust_results or bool(self.outcomes_to_retry)

    @property
    def mode(self) -> "Mode":
        """What happens to an existing result file; raises SettingsError for options that conflict."""
        from bulkstop.runs.stop.journal import choose_mode

        return choose_mode(overwrite=self.overwrite, resume=self.goes_on)


def read_stop_options(params: Mapping[str, Any]) -> StopOptions:
    """Return the options; output for machines implies quiet. Raises SettingsError for options that conflict."""
    options = StopOptions(**{name: params[name] for name in StopOptions._fields if name != "target"})
    _check_source(options)
    if options.as_json and not options.dry_run:
        raise SettingsError("--json: writes the plan; use it with --dry-run")
    is_quiet = options.quiet or options.log_json or options.as_json
    return options._replace(quiet=is_quiet, target=options.output or name_results(options))


def refuse_no_source(ctx: click.Context) -> None:
    """Raise UsageError if nothing says what to stop, and SettingsError for targets beside a list."""
    if not ctx.params["running"] and not ctx.params["inputs"]:
        raise click.UsageError("Missing argument 'INPUT [INPUT ...]'; or use --running to stop what runs now", ctx)
    if not ctx.params["running"] and ctx.get_parameter_source("targets") is ParameterSource.COMMANDLINE:
        raise SettingsError(
            f"--targets: only works with --running, because a list names its own accounts; leave out --targets, or "
            f"{' '.join(ctx.params['inputs'])}"
        )


def _check_source(options: StopOptions) -> None:
    """Raise SettingsError for two sources of campaigns, or an option of the source that is not used."""
    if options.calling_hours and not options.running:
        raise SettingsError(
            "--calling-hours: only works with --running, because a list says itself when to stop; leave it out, or use "
            "--running instead of the list"
        )
    if not options.running:
        given = {"--status": options.wanted, "--priority": options.priority, "--name": options.name}
        for flag in (*(flag for flag, value in given.items() if value), *(["--type"] if _has_types() else [])):
            why = "a list of types" if flag == "--type" else "a filter"
            raise SettingsError(
                f"{flag}: {why} only works with --running; leave it out, or use --running instead of the list"
            )
    elif options.inputs or options.fmt is not None:
        what = f"--format {options.fmt}" if not options.inputs else " ".join(options.inputs)
        raise SettingsError(f"--running: takes its list from the service; leave out {what}")


def _has_types() -> bool:
    return bool(click.get_current_context().meta.get(TYPES))


def usual_options(inputs: Sequence[str], fmt: str | None) -> StopOptions:
    """Return the options of a `stop` that is given only a list; raises SettingsError."""
    options = dict.fromkeys(StopOptions._fields) | {"inputs": tuple(inputs), "fmt": fmt, "retry": (), "log_level": ""}
    return read_stop_options(options)


def name_results(options: StopOptions) -> str:
    """Return the default result file: named after the first input, or after the time if the input has no name.

    Raises SettingsError if a run without a named input continues, because the earlier file has another name.
    """
    from bulkstop.files.whole import beside, find_free_name  # a help page needs no file names

    first = "--running" if options.running else options.inputs[0]
    if not options.running and not is_nameless(first):
        return beside(first, RESULTS)
    if options.goes_on:
        option = next(name for name in ("resume", "trust_results", "retry_failed", "retry") if getattr(options, name))
        raise SettingsError(
            f": the result file of {'standard input' if first == '-' else first} has the date and time in its name; "
            "give "
            f"{name_setting('output', 'FILE')} with the file to go on with",
            setting=option,
        )
    return find_free_name(name_by_time("running" if options.running else "stdin"), RESULTS)


def name_by_time(what: str) -> str:
    """Return the beginning of a file name made of `what` and the local time."""
    return f"{what}-{datetime.now().astimezone():%Y-%m-%d-%H%M%S}"


def is_nameless(path: str) -> bool:
    """Return whether an input has no name of its own: standard input, or a file descriptor of the shell."""
    return path == "-" or path.startswith(("/dev/", "/proc/self/fd/"))


def list_filter(reader: str, metavar: str) -> ParsedText:
    """Return the option type of a list filter, whose reader is imported only when the filter is used."""

    def read(text: str) -> Any:
        from bulkstop.runs.lists import discover

        return getattr(discover, reader)(text)

    return ParsedText(read, metavar)


def parse_types(text: str) -> CampaignType | tuple[CampaignType, ...]:
    """Return a campaign type, or a tuple of several that are separated by commas."""
    kinds = tuple(dict.fromkeys(parse_campaign_type(part.strip()) for part in text.split(",")))
    return kinds if len(kinds) > 1 else kinds[0]


def keep_types(
    ctx: click.Context, _: click.Parameter, kinds: CampaignType | tuple[CampaignType, ...] | None
) -> CampaignType | None:
    """Store several types in the context, and return None; a single type is the default of rows without one."""
    ctx.meta[TYPES] = kinds if isinstance(kinds, tuple) else ()
    return None if isinstance(kinds, tuple) else kinds


def make_filter_options(states: str) -> tuple[Callable[..., Any], ...]:
    """Return the options that filter the list; `states` is the help of --status."""
    return (
        click.option(
            "--status",
            "wanted",
            type=list_filter("parse_statuses", "STATUS,..."),
            metavar="STATUS,...",
            help=f"{states}  [default: running]",
        ),
        click.option(
            "--priority",
            type=list_filter("parse_priorities", "1..5,..."),
            metavar="1..5,...",
            help="Only campaigns of these priorities.",
        ),
        click.option(
            "--name",
            metavar="GLOB",
            help="Only campaigns with a matching name, such as 'Promo*'; letter case is ignored.",
        ),
    )


with_stop_options = with_options(
    click.argument("inputs", nargs=-1, metavar="[INPUT ...]"),
    click.option(
        "--running",
        is_flag=True,
        help="Instead of INPUT, list the campaigns that run now, and stop them; the list is kept beside the results.",
    ),
    *make_filter_options(
        "With --running: only campaigns in these states; running: Active, Preparing or undocumented; all: any state."
    ),
    click.option(
        "--calling-hours",
        is_flag=True,
        help="With --running: stop each campaign by the end of its calling hours; one call per new or changed one.",
    ),
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        help="Result file: JSON lines, or CSV if it ends in .csv; - is standard output.  "
        "[default: INPUT.results.jsonl; without an INPUT file stdin-TIME or running-TIME.results.jsonl]",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue an earlier run: send the campaigns that have not ended in its result file.",
    ),
    click.option(
        "--retry-failed",
        is_flag=True,
        help=f"Resume, and also send again what ended as {format_outcomes(WORTH_A_RETRY)}.",
    ),
    click.option(
        "--retry",
        metavar="OUTCOME,...",
        multiple=True,
        help="Resume, and also send again what ended with these outcomes, such as not_found; repeatable.",
    ),
    click.option(
        "--trust-results",
        is_flag=True,
        help="Resume even if the manifest does not prove the result file, or others can change it.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing result file."),
    click.option(
        "--format",
        "fmt",
        type=WordChoice([form.value for form in Format]),
        help="Format of every input; default: taken from its name and content.",
    ),
    click.option("--strict", is_flag=True, help="Send nothing if any row is invalid or any id has to be cleaned."),
    click.option("--dry-run", is_flag=True, help="Show the plan and send nothing."),
    click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
    click.option(
        "--expect",
        type=ParsedText(parse_expected, "N|A..B"),
        metavar="N|A..B",
        help="Do not ask; send nothing unless there are this many campaigns to stop.",
    ),
    click.option("--json", "as_json", is_flag=True, help="With --dry-run: write the plan as JSON to standard output."),
    click.option(
        "--verify", "reads_back", is_flag=True, help="Check afterwards what still runs, as `bulkstop verify` does."
    ),
    click.option("--quiet", is_flag=True, help="Show only warnings, errors and the verdict."),
    with_log,
    with_settings(*(group for group in GROUPS if group is not TYPE)),
    click.option(
        "--type",
        "type",
        type=ParsedText(parse_types, OPTION_SPECS["type"].metavar),
        metavar=OPTION_SPECS["type"].metavar,
        envvar=variable_of("type"),
        callback=keep_types,
        help=f"{OPTION_SPECS['type'].help.removesuffix('.')}; with --running, the type to list; default: both.",
    ),
)
"""Adds all options of `stop` to a command."""
