"""The latest line of each row of a result file."""

import csv
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import compress

from bulkstop.errors import OutputError
from bulkstop.model import Result
from bulkstop.report.stop.formats import COLUMNS, csv_header, from_csv, from_json, is_csv, to_csv, to_json
from bulkstop.report.stop.resume import ResumeIndex, RowState, open_results


def read_latest(
    index: ResumeIndex, is_wanted: Callable[[RowState], bool] = lambda state: True
) -> Iterator[tuple[bytes, Result]]:
    """Yield the latest line of each row in a wanted state, in the order of the file, as bytes and as a result.

    It reads the file again, and raises OutputError if that has changed since the index was made.
    """
    for line in _read_lines(index, is_wanted):
        try:
            yield line, _parse(index, line)
        except (ValueError, csv.Error):
            raise _changed(index) from None


def format_latest(indexes: Sequence[ResumeIndex], *, as_csv: bool) -> Iterator[bytes]:
    """Yield the latest line of each row of these files, as bytes of a result file; raises OutputError.

    A line is copied unless its file has another format, or other columns than the first file of that format.
    """
    columns = next((each.columns for each in indexes if is_csv(each.path)), COLUMNS)
    write = partial(to_csv, columns=columns) if as_csv else to_json
    if as_csv:
        yield csv_header(columns)
    for index in indexes:
        is_alike = is_csv(index.path) == as_csv and (not as_csv or index.columns == columns)
        yield from _read_lines(index) if is_alike else (write(result) for _, result in read_latest(index))


def _read_lines(index: ResumeIndex, is_wanted: Callable[[RowState], bool] = lambda state: True) -> Iterator[bytes]:
    marks = index.mark_latest(is_wanted)
    left = marks.count(1)
    try:
        with open_results(index.path) as file:
            for line in compress(file, marks):
                if not line.endswith(b"\n"):
                    break
                left -= 1
                yield line
    except OSError as error:
        raise OutputError(f"{index.path}: cannot be read ({error.strerror})") from None
    if left:
        raise _changed(index)


def _parse(index: ResumeIndex, line: bytes) -> Result:
    return from_csv(line, index.columns) if is_csv(index.path) else from_json(line)


def _changed(index: ResumeIndex) -> OutputError:
    return OutputError(f"{index.path}: has changed while it was read; try again")
