"""Files to be written, held against those that are read, by the names of their options."""

from collections.abc import Iterable

from bulkstop.runs.stop import input_files
from bulkstop.settings import Settings


def check_written(written: Iterable[tuple[str, str | None]], settings: Settings, config: str) -> None:
    """Refuse to write over a file that the settings name, or stand in: raises SettingsError before any is opened."""
    read = [("the file that --config names", config), *input_files.files_of(settings)]
    input_files.check_written([(f"{option} {path}:", path) for option, path in written if path is not None], read)
