"""Files to be written, held against those that are read, by the names of their options."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from bulkstop.errors import SettingsError
from bulkstop.settings import Settings

RESULTS = ".results.jsonl"
"""How the name of a result file ends, unless it is said."""


def use_store(settings: Settings) -> Settings:
    """Have calls remembered in the user's state, unless the settings say where; raises SettingsError without a home."""
    return _name_store(settings) if settings.quota else settings


def check_results(path: str, inputs: Iterable[str], settings: Settings, *, more: Iterable[str] = ()) -> None:
    """Refuse results in the place of a file that is read or named, and what stands beside them too."""
    from bulkstop.runs.stop import input_files  # a help page needs no more of this module than a name

    input_files.check_results(path, inputs, _with_usual_store(settings), more=more)


def check_written(written: Iterable[tuple[str, str | None]], settings: Settings, config: str) -> None:
    """Refuse to write over a file that the settings name, or stand in: raises SettingsError before any is opened."""
    from bulkstop.runs.stop import input_files

    read = [("the file that --config names", config), *input_files.files_of(_with_usual_store(settings))]
    input_files.check_written([(f"{option} {path}:", path) for option, path in written if path is not None], read)


def name_free_results(listed: str) -> list[str]:
    """Return the options with which a list is stopped: a result file of a name that is free, where it needs one."""
    from bulkstop.files.whole import beside, find_free_name

    stem, dot, form = RESULTS.rpartition(".")
    usual, free = beside(listed, RESULTS), find_free_name(f"{listed}{stem}", f"{dot}{form}")
    return ["-o", free] if os.path.lexists(usual) else []


def _name_store(settings: Settings) -> Settings:
    from bulkstop.engine.limits.store import default_path

    return settings if settings.quota_store else replace(settings, quota_store=str(default_path()))


def _with_usual_store(settings: Settings) -> Settings:
    with suppress(SettingsError):  # the store itself says that there is no home
        return _name_store(settings)
    return settings
