"""Messages name a setting as their readers do."""

import asyncio
import pickle

import pytest

from bulkstop.cli.words.naming import WITHOUT_OPTION, spell_option
from bulkstop.errors import SettingsError
from bulkstop.naming import name_setting, name_variable, spelling
from bulkstop.settings import OPTION_SPECS


@pytest.mark.parametrize(
    ("name", "value", "argument", "option"),
    [
        ("finish_by", None, "finish_by", "--finish-by"),
        ("timeout_s", None, "timeout_s", "--timeout"),
        ("order", "priority", 'order="priority"', "--order priority"),
        ("retry_failed", True, "retry_failed=True", "--retry-failed"),
        ("output", "FILE", 'output="FILE"', "-o FILE"),
        ("token", None, "token", "BULKSTOP_TOKEN"),
    ],
)
def test_names(name: str, value: str | bool | None, argument: str, option: str) -> None:
    """A setting is an argument in Python, and an option on a command line."""
    assert name_setting(name, value) == argument
    with spelling(spell_option):
        assert name_setting(name, value) == option
    assert name_setting(name, value) == argument


def test_variable() -> None:
    """In messages that name options, a setting without one is named by its variable."""
    assert name_variable("client_id") == "client_id"
    with spelling(spell_option):
        assert name_variable("client_id") == "BULKSTOP_CLIENT_ID"


def test_options() -> None:
    """Every setting that is not a secret is spelled as its option, and every other as its variable."""
    assert {name for name, spec in OPTION_SPECS.items() if spec.secret} == WITHOUT_OPTION
    for name in OPTION_SPECS.keys() - WITHOUT_OPTION:
        assert spell_option(name) == OPTION_SPECS[name].option(name)


def test_error() -> None:
    """An error carries the setting that it is about, also to another process, and begins with what it is called."""
    error = SettingsError(" 18:00: has passed", setting="finish_by")
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert (str(each), each.setting) == ("finish_by 18:00: has passed", "finish_by")
    assert SettingsError("wrong").setting is None


def test_tasks_and_threads() -> None:
    """Work started in a block names settings as the block does; concurrent work outside does not."""

    async def run() -> tuple[str, str]:
        with spelling(spell_option):
            inside = await asyncio.to_thread(name_setting, "waves")
        return inside, name_setting("waves")

    assert asyncio.run(run()) == ("--waves", "waves")
