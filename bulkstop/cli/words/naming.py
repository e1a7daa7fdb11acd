"""What a setting is called on a command line, and which word of a choice may be meant."""

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # generic from click 8.2 on only

WITHOUT_OPTION = frozenset({"token", "client_secret", "proxy_password", "notify", "on_success", "on_failure"})
"""Secrets: a command line is seen by everybody on the machine."""


def spell_option(name: str, value: str | bool | None = None) -> str:
    """Write a setting as an option, `--order priority`; one that has none as its variable."""
    if name in WITHOUT_OPTION:
        return f"BULKSTOP_{name.upper()}"
    option = "-o" if name == "output" else f"--{name.removesuffix('_s').replace('_', '-')}"
    return f"{option} {value}" if isinstance(value, str) else option


class WordChoice(_Choice):
    """One of some words; of another one it names what may have been meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take a word in any letter case; another one is told with the words that there are."""
        from bulkstop.settings.parse import one_of  # the first page of help has no need of it

        words = [str(each) for each in self.choices]
        try:
            return one_of(*words)(str(value))
        except ValueError as error:
            self.fail(f"{error}{name_source(param, ctx)}", param, ctx)


def name_source(param: click.Parameter | None, ctx: click.Context | None) -> str:
    """Name the variable if a text comes from one: nobody looks for it there."""
    if param is None or ctx is None or ctx.get_parameter_source(param.name or "") is not ParameterSource.ENVIRONMENT:
        return ""
    return f" (from {param.envvar})"
