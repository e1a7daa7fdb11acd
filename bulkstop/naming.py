"""The name of a setting in a message: its Python argument, or its option on a command line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Spell = Callable[[str, str | bool | None], str]
"""Formats the name of a setting, with a value if there is one."""


def spell_argument(name: str, value: str | bool | None = None) -> str:
    """Return a setting as a Python argument: `order`, `order="priority"`, `resume=True`."""
    if value is None:
        return name
    return f'{name}="{value}"' if isinstance(value, str) else f"{name}={value}"


_spell: ContextVar[Spell] = ContextVar("spell", default=spell_argument)


def name_setting(name: str, value: str | bool | None = None) -> str:
    """Return a setting by the name that the message's reader knows; with a value, as they would set it."""
    return _spell.get()(name, value)


def name_variable(name: str) -> str:
    """Return a setting's environment variable if messages name options, else its Python name."""
    return name if _spell.get() is spell_argument else f"BULKSTOP_{name.upper()}"


@contextmanager
def spelling(spell: Spell) -> Iterator[None]:
    """Use `spell` to name settings in all messages made in the block and in the tasks that it starts."""
    token = _spell.set(spell)
    try:
        yield
    finally:
        _spell.reset(token)
