"""Checks that files to be written are none of those that are read, with messages that name the options."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from bulkstop.errors import SettingsError
from bulkstop.settings import Settings

RESULTS = ".results.jsonl"
"""Ending of the default name of a result file."""


def use_store(settings: Settings) -> Settings:
    """Return settings whose quota store is the user's own unless they name one; raises SettingsError without a home."""
    return _name_store(settings) if settings.quota else settings


def check_results(path: str, inputs: Iterable[str], settings: Settings, *, more: Iterable[str] = ()) -> None:
    """Raise SettingsError if the result file, or a file beside it, is one that is read or named."""
    from bulkstop.runs.stop import input_files  # imported here because a help page needs only a name of this module

    input_files.check_results(path, inputs, _with_usual_store(settings), more=more)


def check_written(written: Iterable[tuple[str, str | None]], settings: Settings, config: str) -> None:
    """Raise SettingsError before any file is opened, if one to be written is named by the settings or holds them."""
    from bulkstop.runs.stop import input_files

    read = [("the file that --config names", config), *input_files.files_of(_with_usual_store(settings))]
    input_files.check_written([(f"{option} {path}:", path) for option, path in written if path is not None], read)


def name_free_results(listed: str) -> list[str]:
    """Return the option -o with a free name for the results of a list; no option if the usual name is free."""
    from bulkstop.files.whole import beside, find_free_name

    stem, dot, form = RESULTS.rpartition(".")
    usual, free = beside(listed, RESULTS), find_free_name(f"{listed}{stem}", f"{dot}{form}")
    return ["-o", free] if os.path.lexists(usual) else []


def _name_store(settings: Settings) -> Settings:
    from bulkstop.engine.limits.store import default_path

    return settings if settings.quota_store else replace(settings, quota_store=str(default_path()))


def _with_usual_store(settings: Settings) -> Settings:
    with suppress(SettingsError):  # the store reports a missing home itself
        return _name_store(settings)
    return settings
