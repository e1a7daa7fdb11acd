"""Checks that a file to be written replaces none that a run reads."""

import os
from collections.abc import Iterable, Iterator
from os import PathLike, fspath

from bulkstop.engine.limits.store import REDIS
from bulkstop.errors import SettingsError
from bulkstop.files.state_folder import expand_home
from bulkstop.naming import name_setting
from bulkstop.report.stop.manifest import manifest_path
from bulkstop.runs.wiring import MEMORY
from bulkstop.settings import OPTION_SPECS, Settings

STANDARD_INPUT = "/dev/stdin"
"""The shell may have opened a list as standard input."""


def is_same(one: str, other: str) -> bool:
    """Return whether two names, or hard links, are one file; never for a device, which may be written twice."""
    try:
        return os.path.samefile(one, other) and os.path.isfile(one)  # noqa: PTH113, PTH121
    except OSError:  # at least one of them does not exist
        return os.path.realpath(one) == os.path.realpath(other)


def check_written(written: Iterable[tuple[str, str]], read: Iterable[tuple[str, str]]) -> None:
    """Raise SettingsError before any file is opened, if one to be written is also read.

    Each path comes with words: the option that writes it (`-o r.csv:`), or its use (`an input`).
    """
    sources = list(read)
    for writer, path in written:
        for what, name in sources:
            if path != "-" and is_same(path, STANDARD_INPUT if name == "-" else name):
                raise SettingsError(f"{writer} is {what}; give another file")


def check_results(
    path: str,
    inputs: Iterable[str],
    settings: Settings,
    *,
    more: Iterable[str] = (),
) -> None:
    """Raise SettingsError if the result file, or a file beside it, would overwrite an input or a file of a setting."""
    option = name_setting("output")
    read = [*(("an input", name) for name in inputs), *files_of(settings)]
    beside = [(f"{option} {path}: its manifest {each}", each) for each in (manifest_path(path),)]
    beside += [(f"{option} {path}: {each} beside it", each) for each in more]
    check_written([(f"{option} {path}:", path), *(beside if path != "-" else [])], read)


def files_of(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield every file that the settings name, with words for it."""
    for name, spec in OPTION_SPECS.items():
        value = getattr(settings, name)
        if spec.metavar == "FILE" and value is not None:
            for path in [value] if isinstance(value, str | PathLike) else value:
                yield f"the file that {name_setting(name)} names", fspath(path)
    if store := _store_of(settings):
        yield f"the file that {name_setting('quota_store')} names", store


def paths_in(inputs: object) -> list[str]:
    """Return the paths among a run's inputs; campaigns made by hand have none."""
    names = [inputs] if isinstance(inputs, str | PathLike) else inputs
    items = names if isinstance(names, list | tuple) else []
    paths = [fspath(item) for item in items if isinstance(item, str | PathLike)]
    return paths if len(paths) == len(items) else []


def _store_of(settings: Settings) -> str | None:
    """Return the file of the quota store; None without one."""
    where = settings.quota_store
    if where in (None, MEMORY) or where.partition(":")[0].lower() in REDIS:
        return None
    try:
        return str(expand_home(where))
    except RuntimeError:  # no home directory; the store itself reports that
        return None
