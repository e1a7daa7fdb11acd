"""An export names the secret files of every profile that a firing may use."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Here

PROFILES = """
[profile.prod]
host = "api.example"
account_id = "a1"
stream_id = "st-1"
token_file = "prod.token"
[profile.north]
host = "api.example"
account_id = "a2"
token_file = "north.token"
key = "keys/north.pem"
cert = "keys/north.pem"
[profile.south]
account_id = "a3"
token_file = "/etc/bulkstop/south.token"
[profile.many]
[[profile.many.target]]
profile = "north"
stream_id = "st-2"
[schedule.eod]
at = "18:00"
tz = "UTC"
"""
OWN, NORTH, SOUTH = ("prod-token",), ("north-token", "north-cert"), ("south-token",)


@pytest.mark.parametrize(
    ("lines", "needed", "possible"),
    [
        ('profile = "prod"\nrunning = true\ntargets = "targets.csv"', OWN + NORTH, ()),
        ('profile = "many"\nrunning = true', NORTH, ()),
        ('profile = "prod"\ninput = "rows.csv"', OWN + SOUTH, ()),
        ('profile = "prod"\ncommand = "cat rows.csv"', OWN, NORTH + SOUTH),
        ('profile = "prod"\ninput = "missing.csv"', OWN, NORTH + SOUTH),
        ('profile = "prod"\ninput = "one.csv"', ("token",), ()),
    ],
)
def test_secrets(lines: str, needed: tuple[str, ...], possible: tuple[str, ...], here: Here) -> None:
    """Profiles in targets and rows are needed; if the list is made later, all others of the file are possible."""
    (here.folder / "bulkstop.toml").write_text(PROFILES + lines + "\n")
    (here.folder / "bulkstop.toml").chmod(0o600)
    (here.folder / "targets.csv").write_text("profile,stream_id\nprod,st-1\nnorth,st-2\n")
    (here.folder / "rows.csv").write_text("campaign_id,type,profile,stream_id\ncd-1,voice,south,st-3\ncd-2,voice,,\n")
    (here.folder / "one.csv").write_text("campaign_id,type\ncd-1,voice\n")
    run = here("schedule", "export", "kubernetes", "eod", "-o", "k8s", variables={"BULKSTOP_TOKEN": None})
    assert run.code == 0, run.err
    assert ("warning: eod: cannot tell which profiles it needs" in run.err) is ("missing" in lines)
    pod = _read_pod(here.folder / "k8s" / "bulkstop-eod.yaml")
    sources = [each["secret"] for each in _find_sources(pod) if "secret" in each]
    named = [(each["items"][0]["key"], each.get("optional", False)) for each in sources if "items" in each]
    variables = [(each["name"], False) for each in pod["containers"][0]["env"] if each["name"] != "XDG_STATE_HOME"]
    expected = [(each, False) for each in needed] + [(each, True) for each in possible]
    assert named + variables == (expected if needed != ("token",) else [("BULKSTOP_TOKEN_FILE", False)])


def _read_pod(path: Path) -> dict[str, Any]:
    manifest = next(each for each in yaml.safe_load_all(path.read_text()) if each)
    pod: dict[str, Any] = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def _find_sources(pod: dict[str, Any]) -> list[dict[str, Any]]:
    config = next(each for each in pod["volumes"] if each["name"] == "config")
    projected = config.get("projected", {"sources": []})
    sources: list[dict[str, Any]] = projected["sources"]
    return sources
