"""Digests of inputs, by which a later run knows whether they have changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

from bulkstop.errors import InputError
from bulkstop.text import format_count

EVERY = 1000
"""Rows between two marks, which is how precisely a change is located."""
MARK_CHARS = 16


@dataclass(frozen=True, slots=True)
class Digest:
    """An input as it was read: its rows, their SHA-256, and the hash after every EVERY rows."""

    rows: int
    sha256: str
    marks: Sequence[str] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Return the digest with these fields, from `dataclasses.asdict`; raises ValueError for others."""
        try:
            digest = cls(int(fields["rows"]), str(fields["sha256"]), tuple(map(str, fields["marks"])))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError("no digest of an input") from error
        if digest.rows < 1 or len(digest.marks) != digest.rows // EVERY:
            raise ValueError("no digest of an input")
        return digest


@dataclass(slots=True)
class _Running:
    rows: int = 0
    since: int = 0
    hash: Any = field(default_factory=sha256)
    as_recorded: Any = None
    """The hash with the recorded text of rows that were corrected, once there is one."""
    marks: list[str] = field(default_factory=list)


class Digests:
    """Hashes the rows of each input, and compares them with those of an earlier run.

    Rows may be added at the end; any other change raises an InputError with its place.
    """

    def __init__(self, recorded: Mapping[str, Digest] | None = None) -> None:
        self._recorded = recorded or {}
        self._running: dict[str, _Running] = {}

    def add(self, source: str, line: int, row: bytes, was: bytes | None = None) -> None:
        """Add the next row of an input; `was` is the recorded text of a row that was corrected."""
        running = self._running.get(source)
        if running is None:
            running = self._running[source] = _Running(since=line)
        if was is not None and running.as_recorded is None:
            running.as_recorded = running.hash.copy()
        if running.as_recorded is not None:
            running.as_recorded.update(row if was is None else was)
        running.hash.update(row)
        running.rows += 1
        if not running.rows % EVERY:
            running.marks.append(running.hash.hexdigest()[:MARK_CHARS])
            self._check(source, line, running)
            running.since = line + 1
        elif self._recorded:
            self._check(source, line, running)

    def finish(self) -> dict[str, Digest]:
        """Return the digest of every input; raises InputError for one with fewer rows than recorded."""
        for source, was in self._recorded.items():
            rows = self._running[source].rows if source in self._running else 0
            if rows < was.rows:
                raise InputError(
                    f"{source}: had {format_count(was.rows, 'row')} when the run began, and has {rows:,} now; {_SAME}"
                )
        if [source for source in self._running if source in self._recorded] != list(self._recorded):
            order = ", ".join(self._recorded)
            raise InputError(f"the inputs are in another order than when the run began: {order}; {_SAME}")
        return {
            source: Digest(running.rows, running.hash.hexdigest(), tuple(running.marks))
            for source, running in self._running.items()
        }

    def _check(self, source: str, line: int, running: _Running) -> None:
        was = self._recorded.get(source)
        if was is None or running.rows > was.rows:
            return
        recorded = running.as_recorded or running.hash
        if running.rows == was.rows:
            is_same = recorded.hexdigest() == was.sha256
        elif not running.rows % EVERY:
            is_same = recorded.hexdigest()[:MARK_CHARS] == was.marks[running.rows // EVERY - 1]
        else:
            return
        if not is_same:
            raise InputError(f"{source}: a row of lines {running.since} to {line} has changed; {_SAME}")


_SAME = "give the inputs as they were when the run began (rows may be added at the end), or -o with another file"
