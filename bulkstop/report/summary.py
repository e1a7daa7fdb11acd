"""The end of a run of any kind."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from bulkstop.errors import BulkstopError, NotDoneError
from bulkstop.model import Outcome, State


class Summary(ABC):
    """How a run ended: of stops, of a verification, of a load test."""

    __slots__ = ()

    fault: BulkstopError | None
    """The error that ended it early."""

    @property
    @abstractmethod
    def outcomes(self) -> Mapping[Outcome, int] | Mapping[State, int]:
        """The number of each outcome that occurred; in a verification, of each state."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether all is as it should be."""

    @property
    @abstractmethod
    def exit_code(self) -> int:
        """The exit code of the command that ends like this."""

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""

    def check(self) -> None:
        """Raise the error that ended it early, or NotDoneError unless all is as it should be."""
        if self.fault is not None:
            raise self.fault
        if not self.is_done:
            counts = [f"{count:,} {name}" for name, count in self.outcomes.items()]
            parts = [", ".join(counts) or "nothing", *self._shortfalls()]
            raise NotDoneError(f"not all is done: {'; '.join(parts)}")

    def _shortfalls(self) -> Sequence[str]:
        """Return the shortfalls that the outcomes do not show."""
        return ()
