"""How a setting is declared."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bulkstop.settings.parse import parse_flag


class Group(StrEnum):
    """Settings that a command reads together, or not at all; the value is their heading in a help page."""

    CONNECTION = "Connection"
    SCOPE = "Account and stream"
    TYPE = "Campaign type"
    PATHS = "Stop calls"
    CREDENTIALS = "Credentials"
    QUOTA = "Quota and retries"
    PROTECTION = "Protection"
    GUARDS = "Guards"
    RUN = "Run"
    CONCURRENCY = "Calls in flight"


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """How a setting is written: its help, how its text is read, and what it is called in a help page."""

    help: str
    group: Group
    read: Callable[[str], Any] = str
    metavar: str = "TEXT"
    flag: str | None = None
    repeatable: bool = False
    secret: bool = False
    """Only an environment variable, never an option: a command line is seen by everybody on the machine."""

    def option(self, name: str) -> str:
        """Return the option of the setting called `name`."""
        return self.flag or "--" + name.replace("_", "-")


def setting(default: Any, about: str, *, group: Group, shown: bool = True, **how: Any) -> Any:
    """Declare a setting; one that may hold a password is not `shown` by repr."""
    if isinstance(default, bool):
        how = {"read": parse_flag, **how}
    given = OptionSpec(about, group, **how)
    return field(default=default, metadata={"knob": given}, repr=shown and not given.secret)
