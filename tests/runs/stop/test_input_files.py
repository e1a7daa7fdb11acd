"""From Python, too, no run writes over what it reads: refused in one line before anything is opened."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulkstop import Settings, stop
from bulkstop.errors import SettingsError
from bulkstop.model import Campaign, CampaignType
from bulkstop.report.stop.manifest import manifest_path
from bulkstop.runs.api import stop_async
from bulkstop.runs.stop.input_files import files_of
from bulkstop.settings import OPTION_SPECS
from tests.processes import WAIT_S, environment

TEXT = "campaign_id,type,account_id,stream_id\ncd-1,voice,a,st\n"
LINKS: dict[str, Callable[[Path, Path], None]] = {
    "hard": lambda link, target: link.hardlink_to(target),
    "symbolic": lambda link, target: link.symlink_to(target),
}
NAMED = [
    "targets",
    "token_file",
    "client_secret_file",
    "proxy_password_file",
    "ca",
    "cert",
    "key",
    "protect",
    "quota_store",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a list."""
    monkeypatch.chdir(tmp_path)
    Path("l.csv").write_text(TEXT)
    return tmp_path


def settings(**more: Any) -> Settings:
    """Make settings for a host that is never called."""
    given = {"host": "http://127.0.0.1:9", "token": "t", "quota_store": "memory", **more}
    if "token_file" in more or "client_secret_file" in more:
        del given["token"]
    if "client_secret_file" in more:
        given["client_id"] = "c"
    return Settings(**given)


def refused(said: str, output: str, inputs: Any = ("l.csv",), **more: Any) -> None:
    """Stop a list with results in the place of another file, in every mode."""
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    for mode in ({}, {"overwrite": True}, {"resume": True}, {"retry": ["timeout"]}):
        with pytest.raises(SettingsError) as caught:
            stop(inputs, settings(**more), output=output, **mode)
        assert str(caught.value) == said
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize("output", ["l.csv", "./l.csv"])
def test_an_input(output: str, folder: Path) -> None:
    """The list itself, under any name, is never the result file."""
    said = f"output {output}: is an input; give another file"
    refused(said, output)
    refused(said, output, [Path("l.csv")])
    refused(said, output, "l.csv")
    refused(said, output, [str(folder / "l.csv")])


@pytest.mark.parametrize("kind", LINKS)
def test_a_link_to_an_input(kind: str) -> None:
    """Two names of one file are one file."""
    LINKS[kind](Path("r.jsonl"), Path("l.csv"))
    refused("output r.jsonl: is an input; give another file", "r.jsonl")


async def test_async() -> None:
    """`stop_async` refuses it as well."""
    with pytest.raises(SettingsError, match=r"^output l\.csv: is an input; give another file$"):
        await stop_async(["l.csv"], settings(), output="l.csv", overwrite=True)


@pytest.mark.parametrize("name", NAMED)
def test_what_settings_name(name: str) -> None:
    """No file in the settings is the result file, even by a link, nor its manifest."""
    Path("mine.jsonl").write_text("mine\n")
    os.link("mine.jsonl", "link.jsonl")
    os.link("mine.jsonl", manifest_path("r.jsonl"))
    given: dict[str, Any] = {name: ["mine.jsonl"] if name == "protect" else "mine.jsonl"}
    given |= {"cert": "cert.pem"} if name == "key" else {}
    what = f"is the file that {name} names; give another file"
    refused(f"output mine.jsonl: {what}", "mine.jsonl", **given)
    refused(f"output link.jsonl: {what}", "link.jsonl", **given)
    refused(f"output r.jsonl: its manifest {manifest_path('r.jsonl')} {what}", "r.jsonl", **given)


def test_a_manifest_in_the_place_of_an_input() -> None:
    """The manifest never replaces the list."""
    name = manifest_path("r.jsonl")
    Path("l.csv").rename(name)
    refused(f"output r.jsonl: its manifest {name} is an input; give another file", "r.jsonl", [name])


def test_every_file_of_the_settings_is_known() -> None:
    """Each setting that is a file by its option is tried above."""
    assert {name for name, knob in OPTION_SPECS.items() if knob.metavar == "FILE"} == {*NAMED} - {"quota_store"}


def test_no_quota_store() -> None:
    """Calls that are remembered in no file, as by default, name none."""
    for store in (None, "memory", "redis://127.0.0.1/0"):
        assert list(files_of(settings(quota_store=store))) == []


@pytest.mark.real
def test_standard_input_is_a_file() -> None:
    """A list that the shell has opened as standard input is not written over either; the command knows it as `-`."""
    script = "import sys; from bulkstop.cli import main; main()"
    words = ["stop", "-", "--format", "csv", "--host", "http://127.0.0.1:9", "--yes", "--overwrite", "-o", "l.csv"]
    with Path("l.csv").open() as file:
        run = subprocess.run(
            [sys.executable, "-c", script, *words],
            stdin=file,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert (run.returncode, run.stderr) == (2, "bulkstop: -o l.csv: is an input; give another file\n")
    assert Path("l.csv").read_text() == TEXT


def test_campaigns_made_by_hand() -> None:
    """Campaigns that come from no file leave every name free, but what settings name."""
    campaign = Campaign.of_row("cd-1", CampaignType.VOICE, "a", "st", "st", "here", 1)
    Path("p.txt").write_text("x\n")
    refused(
        "output p.txt: is the file that protect names; give another file",
        "p.txt",
        [campaign],
        protect=["p.txt"],
    )
