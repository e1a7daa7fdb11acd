"""The manifest beside a result file: who ran it, when, with what and how it ended, and proofs of its lines."""

import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bulkstop.errors import OutputError
from bulkstop.files.ownership import others_who_write
from bulkstop.files.places import open_regular
from bulkstop.files.whole import beside, check_place, write_atomically
from bulkstop.naming import name_setting
from bulkstop.report.stop.ledger import Mark
from bulkstop.version import __version__

T = TypeVar("T")

SCHEMA = 1
"""The schema version of manifests; this program cannot interpret a higher one."""


PACKED = ".gz"
"""The suffix of a compressed result file."""


class NewerManifestError(OutputError):
    """A newer version of this program wrote the manifest."""


def manifest_path(ledger: str) -> str:
    """Return the path of a result file's manifest, which is the same if the file is compressed."""
    return beside(ledger.removesuffix(PACKED), ".run.json")


@dataclass(frozen=True, slots=True)
class RunSection:
    """One run's section of a manifest: `facts` is all of it, plain JSON; the other fields are validated.

    `rows` is how many were planned, `mark` proves the lines; without `ended_at` the run still runs, or was killed.
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
        """Return the validated section of a run; raises ValueError for one that no run has written."""
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
                section = cls(facts, *about, pid, mark, ended_at, reason, exit_code)
                section._check_rest()
                return section
        raise ValueError("no section of a run")

    @property
    def run_id(self) -> str | None:
        """The run id in the lines of the run."""
        return _optional(self.facts, "run_id", str)

    @property
    def taken_over(self) -> int:
        """The number of lines taken over by the run that no earlier run proves."""
        return max(0, _optional(self.facts, "unproven_lines_taken_over", int) or 0)

    @property
    def trusted(self) -> str | None:
        """Why the lines before the run are taken on trust; None if they are proven."""
        return _optional(self.facts, "trusted", str)

    @property
    def outcomes(self) -> Counter[str] | None:
        """The number of lines of each outcome that the run has written; None before that is noted."""
        return _counts(self.facts.get("outcomes"))

    @property
    def ended_before(self) -> Counter[str]:
        """The number of rows that had ended before the run, by outcome."""
        return _counts(self.facts["plan"].get("ended_before")) or Counter()

    @property
    def is_hold(self) -> bool:
        """Whether it was a run of `hold`."""
        words = self.facts.get("command")
        return isinstance(words, list) and words[1:2] == ["hold"]

    @property
    def is_closed(self) -> bool:
        """Whether nothing may follow the proven lines."""
        return bool(self.facts.get("closed"))

    def _check_rest(self) -> None:
        """Raise ValueError for a wrong type among the facts that are read on demand."""
        _ = self.run_id, self.taken_over, self.trusted, self.outcomes, self.ended_before

    def with_facts(self, facts: dict[str, Any]) -> "RunSection":
        """Return the section with more facts."""
        return RunSection.read(self.facts | facts)


class Manifest:
    """The sections of a manifest, one for each run that wrote its result file; the last one is this run's.

    It is replaced as a whole, never changed in place, and private to the user. `data` is the content of the file, and
    `others` says who else can write it. Raises OutputError if it cannot be written, or exists and cannot be read.
    """

    def __init__(self, path: str, sections: Iterable[RunSection] = (), more: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.sections = tuple(sections)
        self.data = b""
        self.others: str | None = None
        self._more = dict(more or {})
        self._lock = threading.Lock()

    @classmethod
    def read(cls, path: str) -> "Manifest | None":
        """Return the manifest; None if there is none. Raises NewerManifestError for a newer schema."""
        try:
            with open_regular(path) as file:
                data, others = file.read(), others_who_write(file.fileno())
            document = json.loads(data)
            _check_schema(path, document.get("schema", SCHEMA))
            sections = [RunSection.read(facts) for facts in document.pop("runs")]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error.strerror) from None
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            sections = []
        if not sections:
            raise unreadable(path)
        manifest = cls(path, sections, document)
        manifest.data, manifest.others = data, others
        return manifest

    @property
    def last(self) -> RunSection:
        """The section of the last run."""
        return self.sections[-1]

    @property
    def proven(self) -> tuple[RunSection, ...]:
        """The runs whose lines are proven: those since lines were last taken over on trust."""
        trusting = [number for number, section in enumerate(self.sections) if section.trusted is not None]
        return self.sections[trusting[-1] if trusting else 0 :]

    @property
    def marks(self) -> list[Mark]:
        """The marks of these runs in order."""
        return [section.mark for section in self.proven if section.mark is not None]

    def begin(self, section: RunSection) -> None:
        """Add the section of a run that starts."""
        with self._lock:
            self.sections += (section,)
            self._save()

    def extend(self, facts: dict[str, Any]) -> None:
        """Add facts that this run has planned by now; `vouch` runs on another thread."""
        with self._lock:
            self._note(facts)
            self._save()

    def vouch(self, mark: Mark) -> None:
        """Save the mark of what this run has written so far."""
        with self._lock, suppress(OutputError):  # the result file matters more; `end` tries again and raises
            self._note({"ledger": mark._asdict()})
            self._save()

    def end(self, **how: Any) -> None:
        """Record how this run ended."""
        with self._lock:
            self._note(how)
            self._save()

    def _note(self, facts: dict[str, Any]) -> None:
        self.sections = (*self.sections[:-1], self.last.with_facts(facts))

    def _save(self) -> None:
        document = {"schema": SCHEMA} | self._more | {"runs": [section.facts for section in self.sections]}
        data = json.dumps(document, indent=2, default=str).encode() + b"\n"
        try:
            write_atomically(Path(self.path), [data])
        except OSError as error:
            raise _unwritable(self.path, error) from None
        self.data = data


def check_writable(path: str) -> None:
    """Raise OutputError if no manifest of this name can be written, before the first call rather than after it."""
    try:
        check_place(Path(path))
    except OSError as error:
        other = f"give {name_setting('output')} with another file"
        raise OutputError(f"{path}: cannot be written ({error.strerror}); {other}") from None


def unreadable(path: str, why: str | None = None) -> OutputError:
    """Return the error for a manifest that exists but is unusable."""
    reason = why or "it is not a manifest, or was damaged"
    without = f"give {name_setting('trust_results', True)} to go on without it"
    return OutputError(f"{path}: cannot be read ({reason}); restore it, or {without}")


def _unwritable(path: str, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror})")


def _check_schema(path: str, schema: object) -> None:
    """Reject a schema that only a newer version can read; one that is not a number is not a manifest."""
    if isinstance(schema, bool) or not isinstance(schema, int | float):
        raise ValueError("no version")  # noqa: TRY004 - one kind of error for whatever is not a manifest
    if int(schema) > SCHEMA:
        why = f"is of a newer version of bulkstop (its schema is {schema}, {__version__} knows {SCHEMA})"
        raise NewerManifestError(f"{path}: {why}; use that version")


def _counts(value: object) -> Counter[str] | None:
    """Return numbers by outcome; raises ValueError for anything else."""
    if value is None:
        return None
    if not isinstance(value, dict) or not all(type(each) is int for each in value.values()):
        raise ValueError("no counts")
    return Counter({name: count for name, count in value.items() if count})


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
