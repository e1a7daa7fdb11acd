"""How a setting is declared."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bulkstop.settings.parse import parse_flag


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Settings that a command reads together or not at all; a help page has them below this heading."""

    heading: str


CONNECTION = Group("Connection")
PATHS = Group("Connection")
CREDENTIALS = Group("Credentials")
SCOPE = Group("Campaigns")
TARGETS = Group("Campaigns")
INPUT = Group("Input and output")
TYPE = Group("Campaigns")
SELECTION = Group("Campaigns")
PROTECTION = Group("Safety")
GUARDS = Group("Safety")
QUOTA = Group("Rate limit")
RETRY_AFTER = Group("Rate limit")
CONCURRENCY = Group("Rate limit")
DEADLINE = Group("Timing")
GRACE = Group("Timing")
NOTIFICATIONS = Group("Notifications")


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """How a setting is written: its help, how its text is read, and what it is called in a help page."""

    help: str
    group: Group
    read: Callable[[str], Any] = str
    metavar: str = "TEXT"
    repeatable: bool = False
    secret: bool = False
    """Only an environment variable, never an option: a command line is seen by everybody on the machine."""
    in_profile: bool = False
    """A secret that may stand in a profile all the same: there is no other file for it."""

    def option(self, name: str) -> str:
        """Return the option of the setting called `name`, which has no unit: its text may have one."""
        return "--" + name.removesuffix("_s").replace("_", "-")


def setting(group: Group, default: Any, about: str, *, visible: bool = True, **how: Any) -> Any:
    """Declare a setting; one that may hold a password is not `visible` in its repr."""
    if isinstance(default, bool):
        how = {"read": parse_flag, **how}
    spec = OptionSpec(about, group, **how)
    return field(default=default, metadata={"spec": spec}, repr=visible and not spec.secret)
