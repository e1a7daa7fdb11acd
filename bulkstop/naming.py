"""What a setting is called in a message: by its name in Python, by its option on a command line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Spell = Callable[[str, str | bool | None], str]
"""Writes the name of a setting, with a value if there is one."""


def spell_argument(name: str, value: str | bool | None = None) -> str:
    """Write a setting as an argument in Python: `order`, `order="priority"`, `resume=True`."""
    if value is None:
        return name
    return f'{name}="{value}"' if isinstance(value, str) else f"{name}={value}"


_spell: ContextVar[Spell] = ContextVar("spell", default=spell_argument)


def name_setting(name: str, value: str | bool | None = None) -> str:
    """Return what whoever reads the message calls a setting; with a value, how to give it that."""
    return _spell.get()(name, value)


def name_variable(name: str) -> str:
    """Return the environment's variable of a setting for whoever is told of options, else its name."""
    return name if _spell.get() is spell_argument else f"BULKSTOP_{name.upper()}"


@contextmanager
def spelling(spell: Spell) -> Iterator[None]:
    """Have messages that are made in the block, and in the tasks it starts, name settings in this way."""
    token = _spell.set(spell)
    try:
        yield
    finally:
        _spell.reset(token)
