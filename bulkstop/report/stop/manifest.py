"""The manifest beside a result file: each run's who, when, with what and how it ended, and what it vouches for."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bulkstop.errors import OutputError
from bulkstop.files import beside, check_place, write_atomically
from bulkstop.report.stop.ledger import Mark, hashes

Section = dict[str, Any]
"""What a manifest says about one run; plain JSON."""


def manifest_path(ledger: str) -> str:
    """Name the manifest of a result file."""
    return beside(ledger, ".run.json")


class Manifest:
    """The sections of a manifest, one for each run that wrote its result file; the last one is this run's.

    It is replaced as a whole, never changed in place, and private to the user. Raises OutputError when it cannot be
    written, or is there and cannot be read.
    """

    def __init__(self, path: str, sections: list[Section]) -> None:
        self.path = path
        self.sections = sections

    @classmethod
    def read(cls, path: str) -> "Manifest | None":
        """Read the manifest; None when there is none."""
        try:
            sections = json.loads(Path(path).read_bytes())["runs"]
            is_sound = bool(sections) and all(_is_section(section) for section in sections)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error.strerror) from None
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            is_sound = False
        if not is_sound:
            raise unreadable(path)
        return cls(path, sections)

    @property
    def last(self) -> Section:
        """What is said about the last run."""
        return self.sections[-1]

    @property
    def marks(self) -> list[Mark]:
        """What each run vouches for, in the order of the runs."""
        return [mark for section in self.sections if (mark := _mark(section))]

    def begin(self, section: Mapping[str, Any]) -> None:
        """Add the section of a run that begins."""
        self.sections.append(dict(section))
        self._save()

    def vouch(self, mark: Mark) -> None:
        """Note what this run has written so far."""
        self.last["ledger"] = mark._asdict()
        with suppress(OutputError):  # the result file is what counts; `end` tries once more and says so
            self._save()

    def end(self, **how: Any) -> None:
        """Note how this run ended."""
        self.last.update(how)
        self._save()

    def _save(self) -> None:
        text = json.dumps({"runs": self.sections}, indent=2, default=str)
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
    said = why or "it is no manifest, or was damaged"
    return OutputError(f"{path}: cannot be read ({said}); restore it, or remove it to do without")


def flaw_in(ledger: str, manifest: Manifest) -> str | None:
    """Say what shows that lines of a result file are not as they were written, or None when all that is vouched for is.

    Raises OutputError for a file that cannot be read.
    """
    marks = manifest.marks
    try:
        with Path(ledger).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            found = dict(hashes(file.fileno(), sorted({mark.size for mark in marks})))
    except OSError as error:
        raise OutputError(f"{ledger}: cannot be read ({error.strerror})") from None
    before = 0
    for mark in marks:
        if mark.size not in found:
            return f"it is shorter than the {mark.lines:,} lines that were written"
        if found[mark.size].hexdigest() != mark.sha256:
            return f"lines {before + 1:,} to {mark.lines:,} are not as they were written"
        before = mark.lines
    if manifest.last.get("closed") and size > marks[-1].size:
        return f"something was added after line {marks[-1].lines:,}, the last one that was written"
    return None


def _unwritable(path: str, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror})")


def _is_section(section: Section) -> bool:
    """Tell whether a section has what others rely on; raises one of many errors where it is quite another thing."""
    texts = (section["began_at"], section["user"], section["machine"])
    objects = (section["settings"], section["inputs"], section["plan"])
    is_marked = _mark(section) is not None or not section.get("closed")
    return (
        is_marked
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(each, dict) for each in objects)
        and isinstance(section["plan"]["rows"], int)
    )


def _mark(section: Section) -> Mark | None:
    ledger = section.get("ledger")
    return None if ledger is None else Mark(int(ledger["size"]), int(ledger["lines"]), str(ledger["sha256"]))
