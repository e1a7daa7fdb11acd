"""Writes into the pages of docs/ what the code itself says: `make docs`, or `python -m docs.generate`.

A page has a line `<!-- generated: NAME -->` and a line `<!-- end -->`; what stands between them is made here. So a new
option, setting or command needs no row by hand. A test checks that every page is as this would write it.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import click

from bulkstop.cli import COMMANDS, commands
from bulkstop.cli.options import heading_of
from bulkstop.kore.calls import DOCUMENTED, Paths
from bulkstop.settings import OPTION_SPECS, default_of
from bulkstop.settings.load import variable_of

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"(<!-- generated: ([\w ]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
CODES = "Exit codes:"
FIRST = "bulkstop"
"""The client whose rows are taken from the tables of limiters: what is measured beside it stands in RESULTS.md."""


def main() -> None:
    """Write every page anew."""
    for path in sorted(DOCS.glob("*.md")):
        path.write_text(render(path.read_text()))


def render(page: str) -> str:
    """Return a page with its generated blocks as they should be."""
    return BLOCK.sub(lambda found: "\n".join([found[1], *BLOCKS[found[2]](), found[3]]), page)


def write_commands() -> Iterator[str]:
    """Yield a section for each command: what it does, its options below their headings, its examples."""
    for name, command in every_command():
        with click.Context(command, info_name=f"bulkstop {name}", **commands.context_settings) as ctx:
            yield f"## bulkstop {name}"
            yield ""
            yield f"`{escape(' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)]))}`"
            yield ""
            yield from (line.replace("\b", "") for line in inspect.cleandoc(command.help or "").splitlines())
            yield ""
            yield from _write_options(command, ctx)
        for part in _epilog(command):
            if not part.startswith(CODES):
                yield from ["```text", *part.splitlines(), "```", ""]
        if CODES in (command.epilog or ""):
            anchor = "stop" if name == "stop" else f"bulkstop-{name.replace(' ', '-')}"
            yield f"Exit codes: see [exit-codes.md](exit-codes.md#{anchor})."
            yield ""


def _write_options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
    options.append(_make_help_option(ctx))
    by_heading: dict[str, list[click.Option]] = {}
    for option in options:
        by_heading.setdefault(heading_of(option.name or ""), []).append(option)
    for heading, below in by_heading.items():
        rows = [_option_row(each) for each in below]
        yield from write_table((heading, "what it does", "default"), rows)


def _make_help_option(ctx: click.Context) -> click.Option:
    """Return the option --help anew: a command keeps the one of its first context, and older versions sort no names."""
    return click.Option(list(ctx.help_option_names), is_flag=True, help="Show this message and exit.")


def _flags_of(option: click.Option) -> str:
    words = [*option.opts, *option.secondary_opts]
    takes = "" if option.is_flag or option.count else f" {option.metavar or option.type.name.upper()}"
    if isinstance(option.type, click.Choice):
        takes = f" {'|'.join(map(str, option.type.choices))}"
    return ", ".join(f"`{word}`" for word in words[:-1]) + (", " if words[1:] else "") + f"`{words[-1]}{takes}`"


def _option_row(option: click.Option) -> tuple[str, str, str]:
    """Return what a row says of an option; a default that its help tells goes to its column."""
    about, _, told = (option.help or "").partition("  [default: ")
    return _flags_of(option), about, told.rstrip("]") or _default_of(option)


def _default_of(option: click.Option) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    if option.is_flag and not option.default:  # older versions of click say False, where newer ones have none
        return ""
    return shown(option.default) if isinstance(option.default, str | int | float | tuple | list) else ""


def write_settings() -> Iterator[str]:
    """Yield a table for each heading: the settings below it, as option, variable and key of the profile."""
    headings = list(dict.fromkeys(map(heading_of, OPTION_SPECS)))
    names = sorted(OPTION_SPECS, key=lambda name: headings.index(heading_of(name)))
    for heading, below in groupby(names, heading_of):
        yield f"### {heading}"
        yield ""
        yield from write_table(("what it is", "option", "variable", "profile key", "default"), map(_setting_row, below))


def _setting_row(name: str) -> tuple[str, ...]:
    knob = OPTION_SPECS[name]
    variable = variable_of(name)
    key = variable.removeprefix("BULKSTOP_").lower()
    option = "" if knob.secret else f"`{knob.option(name)}`"
    in_profile = f"`{key}`" if not knob.secret or getattr(knob, "in_profile", False) else ""
    return knob.help, option, f"`{variable}`", in_profile, shown(default_of(name))


def write_paths() -> Iterator[str]:
    """Yield the path of each call, by the version of the API."""
    versions = sorted(DOCUMENTED, reverse=True)
    rows = [[call, *(_path_of(DOCUMENTED[version], name) for version in versions)] for name, call in CALLS.items()]
    yield from write_table(("call", *(str(version) for version in versions)), rows)


def _path_of(paths: Paths, call: str) -> str:
    path = getattr(paths, call)
    return f"`{path}`" if path else "not documented: `--disable-schedule` needs `--schedule-path`"


def write_exit_codes() -> Iterator[str]:
    """Yield the exit codes of each command but stop, which stands above with what to do."""
    for name, command in every_command():
        codes = next((part for part in _epilog(command) if part.startswith(CODES)), "")
        if name == "stop" or not codes:
            continue
        yield f"### bulkstop {name}"
        yield ""
        rows = list[list[str]]()
        for line in codes.splitlines()[1:]:
            if found := re.match(r" {2}(\d+) +(.*)", line):
                rows.append([found[1], found[2]])
            else:
                rows[-1][1] += f" {line.strip()}"
        yield from write_table(("exit code", "meaning"), rows)


def write_benchmarks() -> Iterator[str]:
    """Yield the latest entry of each kind in benchmarks/RESULTS.md; of limiters the rows of bulkstop alone."""
    entries = dict[str, list[str]]()
    for entry in (ROOT / "benchmarks/RESULTS.md").read_text().split("\n## ")[1:]:
        lines = entry.rstrip().splitlines()
        entries[lines[0].partition(", `")[2].rstrip("`") or "bench.py"] = lines
    for script, (when, *lines) in sorted(entries.items()):
        yield f"## {TITLES.get(script, script)}"
        yield ""
        yield f"`{script}`, {when.partition(', `')[0]}."
        yield from _rows_of_first(lines)
        yield ""


CALLS = {
    "voice": "voice stop",
    "sms": "SMS stop",
    "list": "list",
    "status": "status",
    "get": "one campaign (GET)",
    "schedule": "disable a schedule",
}
TITLES = {"bench.py": "Load generators", "limiters.py": "Rate limiters"}


def _rows_of_first(lines: Sequence[str]) -> Iterator[str]:
    """Yield an entry without the rows of its tables that are of another client."""
    column = None
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            column = None
        elif "client" in cells:
            column = cells.index("client")
        is_rule = set(line) <= set("|:- ")
        if column is None or "client" in cells or is_rule or cells[column].startswith(FIRST):
            yield line


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its name, and each below a command: `schedule`, `schedule next`."""
    for name in COMMANDS:
        yield from _with_those_below(name, find_command(name))


def _with_those_below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for word in command.list_commands(ctx := click.Context(command)):
            below = command.get_command(ctx, word)
            assert below is not None  # noqa: S101 - it is listed
            yield from _with_those_below(f"{name} {word}", below)


def find_command(name: str) -> click.Command:
    """Return the command of that name."""
    command = commands.get_command(click.Context(commands), name)
    assert command is not None  # noqa: S101 - it is one of COMMANDS
    return command


def _epilog(command: click.Command) -> list[str]:
    """Return the paragraphs below the options of a help page, as they stand there."""
    return [part.replace("\b\n", "").strip("\n") for part in (command.epilog or "").split("\n\n") if part.strip()]


def write_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a table as Markdown."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(escape, row))} |"
    yield ""


def escape(text: str) -> str:
    """Return a text as it stands in the cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;") if "`" not in text else text.replace("|", "\\|")


def shown(default: object) -> str:
    """Write a default as the tables do."""
    if default in (None, "", (), []) or default is False:
        return "" if not isinstance(default, bool) else "no"
    if default is True:
        return "yes"
    if isinstance(default, tuple | list):
        return f"`{' '.join(map(str, default))}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


BLOCKS = {
    "commands": write_commands,
    "settings": write_settings,
    "paths": write_paths,
    "exit codes": write_exit_codes,
    "benchmarks": write_benchmarks,
}

if __name__ == "__main__":
    main()
