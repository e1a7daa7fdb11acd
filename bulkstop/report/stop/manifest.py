"""The manifest beside a result file: each run's who, when, with what and how it ended, and what it vouches for."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bulkstop.errors import OutputError
from bulkstop.files import beside, check_place, write_atomically
from bulkstop.report.stop.ledger import Mark, hashes

T = TypeVar("T")


def manifest_path(ledger: str) -> str:
    """Name the manifest of a result file."""
    return beside(ledger, ".run.json")


@dataclass(frozen=True, slots=True)
class RunSection:
    """What a manifest says about one run: `facts` is all of it, plain JSON; the rest is what others rely on.

    `rows` is how many were planned, `mark` what the run vouches for; without `ended_at` it still runs, or was killed.
    """

    facts: dict[str, Any]
    began_at: str
    user: str
    machine: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Any]
    rows: int
    pid: int | None
    mark: Mark | None
    ended_at: str | None
    reason: str | None
    exit_code: int | None

    @classmethod
    def read(cls, facts: Any) -> "RunSection":
        """Check what is said about a run; raises ValueError for what no run has written."""
        match facts:
            case {
                "began_at": str(began_at),
                "user": str(user),
                "machine": str(machine),
                "settings": dict(settings),
                "inputs": dict(inputs),
                "plan": {"rows": int(rows)},
            }:
                mark = _read_mark(facts.get("ledger"))
                if mark is None and facts.get("closed"):
                    raise ValueError("closed, but vouches for nothing")
                ended_at, reason = _optional(facts, "ended_at", str), _optional(facts, "reason", str)
                pid, exit_code = _optional(facts, "pid", int), _optional(facts, "exit_code", int)
                about = began_at, user, machine, settings, inputs, rows
                return cls(facts, *about, pid, mark, ended_at, reason, exit_code)
        raise ValueError("no section of a run")

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing can be in the file after what is vouched for."""
        return bool(self.facts.get("closed"))

    def with_facts(self, facts: dict[str, Any]) -> "RunSection":
        """Return the section with more that is said."""
        return RunSection.read(self.facts | facts)


class Manifest:
    """The sections of a manifest, one for each run that wrote its result file; the last one is this run's.

    It is replaced as a whole, never changed in place, and private to the user. Raises OutputError when it cannot be
    written, or is there and cannot be read.
    """

    def __init__(self, path: str, sections: Iterable[RunSection] = ()) -> None:
        self.path = path
        self.sections = tuple(sections)

    @classmethod
    def read(cls, path: str) -> "Manifest | None":
        """Read the manifest; None when there is none."""
        try:
            sections = [RunSection.read(facts) for facts in json.loads(Path(path).read_bytes())["runs"]]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error.strerror) from None
        except (ValueError, LookupError, TypeError, RecursionError):
            sections = []
        if not sections:
            raise unreadable(path)
        return cls(path, sections)

    @property
    def last(self) -> RunSection:
        """What is said about the last run."""
        return self.sections[-1]

    @property
    def marks(self) -> list[Mark]:
        """What each run vouches for, in the order of the runs."""
        return [section.mark for section in self.sections if section.mark is not None]

    def begin(self, section: RunSection) -> None:
        """Add the section of a run that begins."""
        self.sections += (section,)
        self._save()

    def vouch(self, mark: Mark) -> None:
        """Note what this run has written so far."""
        self._note({"ledger": mark._asdict()})
        with suppress(OutputError):  # the result file is what counts; `end` tries once more and says so
            self._save()

    def end(self, **how: Any) -> None:
        """Note how this run ended."""
        self._note(how)
        self._save()

    def _note(self, facts: dict[str, Any]) -> None:
        self.sections = (*self.sections[:-1], self.last.with_facts(facts))

    def _save(self) -> None:
        text = json.dumps({"runs": [section.facts for section in self.sections]}, indent=2, default=str)
        try:
            write_atomically(Path(self.path), [text.encode(), b"\n"])
        except OSError as error:
            raise _unwritable(self.path, error) from None


def check_writable(path: str) -> None:
    """Raise OutputError when there could be no manifest of this name: better now than after the first call."""
    try:
        check_place(Path(path))
    except OSError as error:
        raise _unwritable(path, error) from None


def unreadable(path: str, why: str | None = None) -> OutputError:
    """Make the error of a manifest that is there, but of no use."""
    reason = why or "it is no manifest, or was damaged"
    return OutputError(f"{path}: cannot be read ({reason}); restore it, or remove it to do without")


def flaw_in(ledger: str, manifest: Manifest) -> str | None:
    """Say what shows that lines of a result file are not as they were written, or None when all that is vouched for is.

    Raises OutputError for a file that cannot be read.
    """
    marks = manifest.marks
    try:
        with Path(ledger).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digests = dict(hashes(file.fileno(), sorted({mark.size for mark in marks})))
    except OSError as error:
        raise OutputError(f"{ledger}: cannot be read ({error.strerror})") from None
    before = 0
    for mark in marks:
        if mark.size not in digests:
            return f"it is shorter than the {mark.lines:,} lines that were written"
        if digests[mark.size].hexdigest() != mark.sha256:
            return f"lines {before + 1:,} to {mark.lines:,} are not as they were written"
        before = mark.lines
    if manifest.last.is_closed and size > marks[-1].size:
        return f"something was added after line {marks[-1].lines:,}, the last one that was written"
    return None


def _unwritable(path: str, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror})")


def _read_mark(facts: object) -> Mark | None:
    match facts:
        case None:
            return None
        case {"size": int(size), "lines": int(lines), "sha256": str(digest)}:
            return Mark(size, lines, digest)
    raise ValueError("no mark")


def _optional(facts: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    value = facts.get(key)
    if value is None or isinstance(value, kind):
        return value
    raise ValueError(f"{key} is of another kind")
