"""Spells settings as options, and suggests the word of a choice that was probably meant."""

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # generic only from click 8.2 on

WITHOUT_OPTION = frozenset({"token", "client_secret", "proxy_password", "notify", "on_success", "on_failure"})
"""Secrets have no option, because every user of the machine can see a command line."""


def spell_option(name: str, value: str | bool | None = None) -> str:
    """Return a setting as an option, such as `--order priority`; a secret as its variable."""
    if name in WITHOUT_OPTION:
        return f"BULKSTOP_{name.upper()}"
    option = "-o" if name == "output" else f"--{name.removesuffix('_s').replace('_', '-')}"
    return f"{option} {value}" if isinstance(value, str) else option


class WordChoice(_Choice):
    """A choice of words; for another word, the error suggests the nearest one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the chosen word, in any letter case; the error for another word lists the choices."""
        from bulkstop.settings.parse import one_of  # imported here because a help page does not need it

        words = [str(each) for each in self.choices]
        try:
            return one_of(*words)(str(value))
        except ValueError as error:
            self.fail(f"{error}{name_source(param, ctx)}", param, ctx)


def name_source(param: click.Parameter | None, ctx: click.Context | None) -> str:
    """Return ` (from VARIABLE)` for a text that comes from a variable, where its user would not look for it."""
    if param is None or ctx is None or ctx.get_parameter_source(param.name or "") is not ParameterSource.ENVIRONMENT:
        return ""
    return f" (from {param.envvar})"
