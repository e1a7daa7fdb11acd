"""Results of earlier firings: compressed after a time, or deleted where that is asked for."""

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
    """Compress results older than `keep_s`, or delete them with what lies beside them; return the names of both.

    Raises OutputError for a file that cannot be read, written or deleted; what was there is then still there.
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
    """Put a compressed file in the place of one; that goes last."""
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
