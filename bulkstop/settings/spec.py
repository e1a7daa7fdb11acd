"""Declares settings: their groups, help, names and parsers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bulkstop.settings.parse import parse_flag


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Settings that a command accepts together; a help page lists them below this heading."""

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
    """How a setting is written: its help, its parser, and its name in a help page."""

    help: str
    group: Group
    read: Callable[[str], Any] = str
    metavar: str = "TEXT"
    repeatable: bool = False
    secret: bool = False
    """Only a variable and no option, because every user of the machine can see a command line."""
    in_profile: bool = False
    """A secret that is allowed in a profile, because there is no other file for it."""

    def option(self, name: str) -> str:
        """Return the option of a setting; it has no unit suffix, because its text may have a unit."""
        return "--" + name.removesuffix("_s").replace("_", "-")


def setting(group: Group, default: Any, about: str, *, visible: bool = True, **how: Any) -> Any:
    """Declare a setting; one that may contain a password is not `visible` in the repr."""
    if isinstance(default, bool):
        how = {"read": parse_flag, **how}
    spec = OptionSpec(about, group, **how)
    return field(default=default, metadata={"spec": spec}, repr=visible and not spec.secret)
