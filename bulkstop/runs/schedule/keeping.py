"""Compresses or deletes the results of earlier firings after a time."""

import gzip
import io
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from bulkstop.errors import OutputError
from bulkstop.files.places import open_regular
from bulkstop.files.whole import write_atomically
from bulkstop.runs.schedule.occasion import RESULTS, match_files

PACKED = ".gz"
_BLOCK = 1024 * 1024


def keep_results(folder: str, schedule: str, keep_s: float, today: date, *, deletes: bool) -> list[str]:
    """Compress results older than `keep_s` seconds, or delete them with the files beside them.

    Return the names of both. Raises OutputError for a file that cannot be read, written or deleted, which then remains.
    """
    pattern, done = match_files(schedule), []
    for path in sorted(Path(folder).iterdir()):
        match = pattern.fullmatch(path.name)
        if match is None or today - date.fromisoformat(match[2]) <= timedelta(seconds=keep_s):
            continue
        try:
            if deletes:
                path.unlink()
            elif path.name.endswith(RESULTS):
                _pack(path)
            else:
                continue
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be {'deleted' if deletes else 'compressed'} ({error.strerror})"
            ) from None
        done.append(path.name)
    return done


def _pack(path: Path) -> None:
    """Replace a file by a compressed one; the original is deleted last."""
    with open_regular(path) as file:
        write_atomically(path.with_name(path.name + PACKED), _compress(iter(lambda: file.read(_BLOCK), b"")))
    path.unlink()


def _compress(blocks: Iterator[bytes]) -> Iterator[bytes]:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed:
        for block in blocks:
            packed.write(block)
            yield _drain(buffer)
    yield _drain(buffer)


def _drain(buffer: io.BytesIO) -> bytes:
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return data
