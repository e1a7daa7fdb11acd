"""A command says where its settings come from, and ignores a file of another user."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Here

PROFILE = """
[profile.prod]
host = "https://api.example"
proxy = "http://user:a-proxy-password@proxy.example:3128"
ca = "ca.pem"
"""


@pytest.mark.usefixtures("three")
def test_plan_says_where_settings_come_from(here: Here) -> None:
    """The plan names the file, the profile, the proxy without password, and the authority, as text and JSON."""
    Path("bulkstop.toml").write_text(PROFILE)
    ended = here("stop", "campaigns.csv", "--profile", "prod", "--dry-run", "--json")
    plan = json.loads(ended.out)
    assert [plan[key] for key in ("config", "profile", "proxy", "ca")] == [
        "bulkstop.toml",
        "prod",
        "http://user@proxy.example:3128",
        "ca.pem",
    ]
    lines = [
        " ".join(line.split())
        for line in here("stop", "campaigns.csv", "--profile", "prod", "--dry-run").err.splitlines()
    ]
    assert "config bulkstop.toml (profile prod)" in lines
    assert "proxy http://user@proxy.example:3128" in lines
    assert "ca ca.pem" in lines


@pytest.mark.usefixtures("three")
def test_plan_without_a_profile(here: Here) -> None:
    """A file without a profile in use is named alone; without a file, nothing is named."""
    Path("other.toml").write_text(PROFILE)
    words = ("stop", "campaigns.csv", "--host", "https://api.example", "--dry-run")
    assert "other.toml (no profile used)" in here(*words, "--config", "other.toml").err
    plan = json.loads(here(*words, "--json").out)
    assert (plan["config"], plan["profile"], plan["proxy"], plan["ca"]) == (None, None, None, None)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("words", [("stop", "campaigns.csv", "--dry-run"), ("token",), ("discover",)])
def test_file_of_somebody_else(words: tuple[str, ...], here: Here) -> None:
    """No command uses a file of another user in the folder, nor runs without it; a named file is used."""
    path = Path("bulkstop.toml")
    path.write_text("[profile.default]\nattempts = 0\n")
    path.chmod(0o666)
    if os.geteuid() == 0:
        path.chmod(0o644)
        os.chown(path, 65534, 65534)
    ended = here(*words)
    assert ended.code == 2
    assert "is not used, because" in ended.err
    assert "give --config bulkstop.toml if you trust it, or --config /dev/null to use none" in ended.err
    assert "bulkstop.toml line 2: attempts: '0' is not a whole number" in here(*words, "--config", "bulkstop.toml").err
    assert "host: is missing" in here(*words, "--config", "/dev/null").err or words == ("token",)


@pytest.mark.real
@pytest.mark.parametrize("words", [("--rate", "1/s", "--count", "1"), ("--find-limit",)])
def test_load_says_where_settings_come_from(words: tuple[str, ...], here: Here) -> None:
    """A load test also shows where its settings come from, before the first request."""
    Path("bulkstop.toml").write_text(PROFILE)
    ended = here(
        "load", "--profile", "prod", "--account-id", "a", "--stream-id", "s", *words, variables={"BULKSTOP_TOKEN": None}
    )
    lines = [" ".join(line.split()) for line in ended.err.splitlines()]
    assert {"config bulkstop.toml (profile prod)", "proxy http://user@proxy.example:3128", "ca ca.pem"} <= {*lines}
    assert ended.code == 2
