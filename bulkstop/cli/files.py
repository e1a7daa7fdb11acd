"""Files that are to be written, held against those that are read."""

import os
from collections.abc import Iterable, Iterator

from bulkstop.errors import SettingsError
from bulkstop.settings import KNOBS, Settings


def is_same(one: str, other: str) -> bool:
    """Tell whether two names are of one file, by a hard link too; a device is none, it may be written twice."""
    try:
        return os.path.samefile(one, other) and os.path.isfile(one)  # noqa: PTH113, PTH121
    except OSError:  # at least one of them is not there yet
        return os.path.realpath(one) == os.path.realpath(other)


def check_written(written: Iterable[tuple[str, str | None]], settings: Settings, config: str) -> None:
    """Refuse to write over a file that the settings name, or stand in: raises SettingsError before any is opened."""
    for option, path in written:
        for read_by, name in _read(settings, config):
            if path not in (None, "-") and is_same(path, name):
                raise SettingsError(f"{option} {path}: is the file that {read_by} names; give another file")


def _read(settings: Settings, config: str) -> Iterator[tuple[str, str]]:
    """Name every file that a run reads beside its list, each with the option that names it."""
    yield "--config", config
    for name in ("token_file", "client_secret_file", "ca", "quota_store"):
        if (path := getattr(settings, name)) is not None:
            yield KNOBS[name].option(name), path
    for path in settings.protect:
        yield "--protect", path
