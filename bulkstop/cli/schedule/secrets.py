"""Lists the secret files that a firing may need: those of all profiles that it may make calls with."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from bulkstop.cli.options import read_listed_targets, read_profiles, read_settings
from bulkstop.cli.schedule.reading import is_config_named
from bulkstop.cli.schedule.stopping import find_command, write_stop
from bulkstop.cli.terminal import print_err
from bulkstop.errors import BulkstopError
from bulkstop.runs.schedule.firing import Work
from bulkstop.runs.schedule.occasion import start_by_hand
from bulkstop.runs.schedule.settings import Schedule
from bulkstop.schedule.export.job import SecretFile
from bulkstop.settings.load import variable_of
from bulkstop.settings.profiles import Profile, list_profiles, read_profile

SECRETS = ("token_file", "client_secret_file", "proxy_password_file", "cert", "key")
"""Settings of a profile that name files that only the service may read."""
_CREDENTIALS = frozenset({"token_file", "token_command", "client_secret_file"})
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class Others(NamedTuple):
    """The other profiles of a firing, besides its schedule's own: those that it uses, and those that it may use."""

    sure: tuple[str, ...] = ()
    possible: tuple[str, ...] = ()


def list_secret_files(ctx: click.Context, schedule: Schedule, directory: str) -> list[SecretFile]:
    """Return the secret files that a firing may need, each once, beginning with those of its own profile.

    With one profile, environment variables name the files; if the profile names no file, it is `token` in
    `directory`. With several profiles, a variable would apply to all of them, so each file stays where its profile
    says.
    """
    own = read_profile(schedule.path, schedule.profile, is_named=is_config_named(ctx))
    others = _find_others(ctx, schedule, own)
    if not others.sure and not others.possible:
        return list(_list_named_by_variables(own, directory))
    files = list(_list_placed([own, *_open(schedule, others.sure)], directory, is_sure=True))
    files += _list_placed(_open(schedule, others.possible), directory, is_sure=False)
    has_own = bool(_CREDENTIALS & set(own.settings)) or bool(
        own.targets and all("profile" in each for each in own.targets)
    )
    if not has_own and not others.sure:
        files.insert(0, _name_token(directory))
    return list(_name_apart(files))


def _find_others(ctx: click.Context, schedule: Schedule, own: Profile) -> Others:
    """Return the profiles that targets or rows name; if a list cannot be read yet, all profiles of the file."""
    rest = tuple(name for name in list_profiles(own) if own.values is None or name != own.name)
    if not rest:
        return Others()
    try:
        named = [name for name in rest if name in _list_named(ctx, schedule)]
    except (BulkstopError, click.ClickException, OSError) as error:
        why = error.format_message() if isinstance(error, click.ClickException) else str(error)
        why = " ".join(why.split()).lstrip(": ")
        print_err(
            f"warning: {schedule.name}: cannot tell which profiles it needs, so those of the whole "
            f"file are optional: {why}"
        )
        return Others((), rest)
    return Others(tuple(named), tuple(name for name in rest if name not in named) if schedule.command else ())


def _list_named(ctx: click.Context, schedule: Schedule) -> set[str]:
    """Return the names of the profiles in the targets of a schedule, or in the rows of its list."""
    from bulkstop.runs.stop.plan import make_plan  # imported here because only several profiles need it

    work = Work(
        start_by_hand(schedule.name, schedule.timetable.zone, datetime.now(UTC)), f"{schedule.name}.jsonl", None
    )
    inputs = [schedule.input] if schedule.input else ["list"] if schedule.command else []
    words = write_stop(schedule, work, inputs, is_named=is_config_named(ctx))
    with find_command(ctx, "stop").make_context("stop", words, parent=ctx) as sub:
        settings = read_settings(sub)
        profiles = read_profiles(sub)
        if schedule.running:
            read_listed_targets(sub, settings)
        elif schedule.input:
            make_plan([schedule.input], settings, fmt=sub.params.get("fmt"), profiles=profiles).close()
        return set(profiles.others)


def _open(schedule: Schedule, names: Iterable[str]) -> list[Profile]:
    return [read_profile(schedule.path, name) for name in names]


def _list_named_by_variables(profile: Profile, directory: str) -> Iterator[SecretFile]:
    said = set(profile.settings)
    if not _CREDENTIALS & said:
        yield _name_token(directory)
    for name in SECRETS:
        if name in said:
            yield SecretFile(_name_file(name), str(Path(directory, profile.value(name))), variable_of(name))


def _list_placed(profiles: Iterable[Profile], directory: str, *, is_sure: bool) -> Iterator[SecretFile]:
    for profile in profiles:
        said = set(profile.settings)
        for name in SECRETS:
            if name in said:
                called = f"{_NOT_IN_NAMES.sub('-', profile.name)}-{_name_file(name)}"
                yield SecretFile(called, str(Path(directory, profile.value(name))), is_sure=is_sure)


def _name_apart(files: Iterable[SecretFile]) -> Iterator[SecretFile]:
    """Yield each file once, with a unique name."""
    paths, names = set[str](), set[str]()
    for each in files:
        if each.path in paths:
            continue
        name, number = each.name, 2
        while name in names:
            name, number = f"{each.name}-{number}", number + 1
        paths.add(each.path)
        names.add(name)
        yield SecretFile(name, each.path, each.variable, each.is_sure)


def _name_token(directory: str) -> SecretFile:
    return SecretFile("token", str(Path(directory, "token")), variable_of("token_file"))


def _name_file(setting: str) -> str:
    return setting.removesuffix("_file").replace("_", "-")
