"""How a setting is declared."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bulkstop.settings.parse import parse_flag


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """How a setting is written: its help, how its text is read, and what it is called in a help page."""

    help: str
    read: Callable[[str], Any] = str
    metavar: str = "TEXT"
    flag: str | None = None
    repeatable: bool = False
    secret: bool = False
    """Only an environment variable, never an option: a command line is seen by everybody on the machine."""

    def option(self, name: str) -> str:
        """Return the option of the setting called `name`."""
        return self.flag or "--" + name.replace("_", "-")


def setting(default: Any, about: str, *, shown: bool = True, **how: Any) -> Any:
    """Declare a setting; one that may hold a password is not `shown` by repr."""
    if isinstance(default, bool):
        how = {"read": parse_flag, **how}
    given = OptionSpec(about, **how)
    return field(default=default, metadata={"knob": given}, repr=shown and not given.secret)
