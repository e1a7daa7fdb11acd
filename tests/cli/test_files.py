"""No command overwrites a file that it reads: it is refused in one line before anything is opened."""

import os
from pathlib import Path

import click
import pytest

from bulkstop.cli.discover import command as discover
from bulkstop.cli.load.command import command as load
from bulkstop.cli.stop.entry import command as stop
from bulkstop.cli.verify import command as verify
from bulkstop.errors import SettingsError
from bulkstop.runs.stop.input_files import is_same
from tests.loads import NOWHERE, WHERE

SECRET = ("--client-id", "c", "--client-secret-file")
COMMANDS = {
    "load --results": (load, (*WHERE, "--rate", "5/s", "--count", "1", "--results")),
    "load --hdr": (load, (*WHERE, "--rate", "5/s", "--count", "1", "--hdr")),
    "load --html": (load, (*WHERE, "--rate", "5/s", "--count", "1", "--html")),
    "stop -o": (stop, ("list.txt", "--type", "sms", *WHERE, "--yes", "-o")),
    "discover -o": (discover, (*WHERE, "-o")),
    "verify -o": (verify, ("results.jsonl", "-o")),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "reads", [("--token-file",), SECRET, ("--ca",), ("--config",), ("--protect",)], ids=lambda reads: reads[-1][2:]
)
def test_what_the_settings_name(
    name: str, reads: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No `--overwrite` replaces a token, a secret, a certificate, a profile or a file of rules."""
    command, args = COMMANDS[name]
    if command in (discover, verify) and reads == ("--protect",):
        monkeypatch.setenv("BULKSTOP_PROFILE", "p")  # for commands without these options
        (tmp_path / "bulkstop.toml").write_text('[profile.p]\nprotect = ["there.csv"]\n')
        reads = ()
    monkeypatch.chdir(tmp_path)
    if reads in (("--token-file",), SECRET):
        monkeypatch.delenv("BULKSTOP_TOKEN", raising=False)
    else:
        monkeypatch.setenv("BULKSTOP_TOKEN", "t")
    (tmp_path / "list.txt").write_text("c1\n")
    (tmp_path / "results.jsonl").write_text("")
    (tmp_path / "there.csv").write_text("# mine\n")
    (tmp_path / "link.jsonl").hardlink_to(tmp_path / "there.csv")
    given = (*reads, "there.csv") if reads else ()
    with pytest.raises(SettingsError, match=r"link.jsonl: is the file that --[a-z-]+ names; give another file$"):
        command.main([*NOWHERE, *args, "link.jsonl", "--overwrite", *given], standalone_mode=False)
    assert (tmp_path / "there.csv").read_text() == "# mine\n"


@pytest.mark.parametrize(
    "args",
    [
        ("list.txt", "--results", "link"),
        ("list.txt", "--html", "link"),
        ("--results", "list.txt", "--hdr", "link"),
        ("--html", "link", "--results", "list.txt"),
    ],
)
def test_hard_links(args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hard links are one file, also if neither is a symbolic link."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BULKSTOP_TOKEN", "t")
    (tmp_path / "list.txt").write_text("c1\n")
    (tmp_path / "link").hardlink_to(tmp_path / "list.txt")
    with pytest.raises((SettingsError, click.UsageError), match=r"link: is (INPUT itself|also what)"):
        load.main([*NOWHERE, *WHERE, "--rate", "5/s", "--count", "1", "--overwrite", *args], standalone_mode=False)
    assert (tmp_path / "list.txt").read_text() == "c1\n"


def test_is_same(tmp_path: Path) -> None:
    """Names are of one file by any kind of link, also of a missing one; devices are never compared."""
    one, other = tmp_path / "one", tmp_path / "other"
    other.symlink_to(one)
    assert is_same(str(one), str(other))
    one.touch()
    assert is_same(str(one), str(other))
    assert is_same(str(one), f"{tmp_path}/./one")
    assert not is_same(str(one), str(tmp_path / "third"))
    assert not is_same(os.devnull, os.devnull)


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("r.jsonl.run.json", (), "-o r.jsonl: its manifest r.jsonl.run.json is an input; give another file"),
        (
            "r.jsonl.running.csv",
            ("--verify",),
            "-o r.jsonl: r.jsonl.running.csv beside it is an input; give another file",
        ),
    ],
)
def test_beside_the_results(
    name: str, args: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files beside the results of `stop` do not replace the list either."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BULKSTOP_TOKEN", "t")
    Path(name).write_text("c1\n")
    words = [*NOWHERE, name, "--format", "txt", "--type", "sms", *WHERE, "--yes", "-o", "r.jsonl", "--overwrite", *args]
    with pytest.raises(SettingsError) as caught:
        stop.main(words, standalone_mode=False)
    assert str(caught.value) == said
    assert Path(name).read_text() == "c1\n"
