"""Settings as values: what cannot be made, and how no limit is said."""

import pickle
from dataclasses import replace
from typing import Any

import pytest

from bulkstop import NO_LIMIT, Limit, Settings, SettingsError


@pytest.mark.parametrize("name", ["account_id", "token", "token_file", "iid", "jwt_sub", "quota_store", "ca", "waves"])
def test_empty_texts(name: str) -> None:
    """A text that is given and holds nothing is refused with the name of its setting."""
    given: dict[str, Any] = {name: " "}
    with pytest.raises(
        SettingsError, match=f"^(--)?{name.replace('_', '.')}: is empty; give it a value, or take it out$"
    ):
        Settings(host="api.example", **given)


def test_an_empty_file_name() -> None:
    """A list of files that holds an empty name is refused."""
    with pytest.raises(SettingsError, match=r"^--protect: is empty"):
        Settings(host="api.example", protect=("keep.txt", ""))


@pytest.mark.parametrize("quota", [(), [], None, "none", "", (None,), ("60/60s",), [Limit(60, 60.0)]])
def test_what_is_no_quota(quota: Any) -> None:
    """Only Limit values are a quota, and nothing but NO_LIMIT is none."""
    with pytest.raises(SettingsError, match=r"^--quota: is .*such as \(Limit\(60, 60\),\), or NO_LIMIT"):
        Settings(host="api.example", quota=quota)


def test_no_limit() -> None:
    """Settings without a limit say so, and can be copied, changed and sent to another process."""
    settings = Settings(host="api.example", quota=NO_LIMIT)
    for found in (settings, replace(settings, attempts=1), pickle.loads(pickle.dumps(settings))):
        assert (list(found.quota), repr(found.quota)) == ([], "NO_LIMIT")
        assert replace(found, attempts=5) == settings
