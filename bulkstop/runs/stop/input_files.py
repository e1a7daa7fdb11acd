"""Files to be written, held against those that are read: nothing takes the place of what a run needs."""

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
"""A list may come from a file that the shell has opened."""


def is_same(one: str, other: str) -> bool:
    """Tell whether two names are of one file, by a hard link too; a device is none, it may be written twice."""
    try:
        return os.path.samefile(one, other) and os.path.isfile(one)  # noqa: PTH113, PTH121
    except OSError:  # at least one of them is not there yet
        return os.path.realpath(one) == os.path.realpath(other)


def check_written(written: Iterable[tuple[str, str]], read: Iterable[tuple[str, str]]) -> None:
    """Refuse to write over a file that is read: raises SettingsError before any is opened.

    Each is given with its words: who is said to write it (`-o r.csv:`), and what it is read as (`an input`).
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
    """Refuse a result file that would overwrite an input or a file of a setting, itself or by a file beside it."""
    option = name_setting("output")
    read = [*(("an input", name) for name in inputs), *files_of(settings)]
    beside = [(f"{option} {path}: its manifest {each}", each) for each in (manifest_path(path),)]
    beside += [(f"{option} {path}: {each} beside it", each) for each in more]
    check_written([(f"{option} {path}:", path), *(beside if path != "-" else [])], read)


def files_of(settings: Settings) -> Iterator[tuple[str, str]]:
    """Name every file that settings name, with words for it."""
    for name, spec in OPTION_SPECS.items():
        value = getattr(settings, name)
        if spec.metavar == "FILE" and value is not None:
            for path in [value] if isinstance(value, str | PathLike) else value:
                yield f"the file that {name_setting(name)} names", fspath(path)
    if store := _store_of(settings):
        yield f"the file that {name_setting('quota_store')} names", store


def paths_in(inputs: object) -> list[str]:
    """Return the paths that the inputs of a run are; campaigns made by hand come from no file."""
    names = [inputs] if isinstance(inputs, str | PathLike) else inputs
    items = names if isinstance(names, list | tuple) else []
    paths = [fspath(item) for item in items if isinstance(item, str | PathLike)]
    return paths if len(paths) == len(items) else []


def _store_of(settings: Settings) -> str | None:
    """Return the file that remembers the calls; None when there is none."""
    where = settings.quota_store
    if where in (None, MEMORY) or where.partition(":")[0].lower() in REDIS:
        return None
    try:
        return str(expand_home(where))
    except RuntimeError:  # nobody's home: there is none, and the store itself says so
        return None
