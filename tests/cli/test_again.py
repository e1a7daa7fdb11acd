"""Suggested commands can be pasted unchanged, and do what they say."""

import re
import shlex
from pathlib import Path

import click
import pytest

from bulkstop.cli import again
from bulkstop.cli.again import TYPED, rebuild_command, rebuild_recorded
from bulkstop.cli.stop.command import command_line
from bulkstop.cli.stop.entry import command as stop
from tests.cli.conftest import Here
from tests.processes import Ended, Simulated, campaigns, shell, simulator

HANDED_OUT = re.compile(r"^(?:To |  to go on ).*?(?:: |  )((?:mv .* && )?(?:cd \S+ && )?\S*bulkstop .*)$", re.MULTILINE)
"""Each suggested command is at the end of its line."""
PROFILE = '[profile."prod eu"]\nquota = "none"\nhost = "{}"\naccount_id = "a1"\nstream_id = "st-1"\n'
ODD = "it's a list.csv"
FEW = ["cd-1", "cd-2", "cd-3"]


def rebuilt(*words: str, **how: object) -> str:
    """Return the rebuilt command of a `stop` with these words."""
    with click.Context(stop, info_name="stop") as ctx:
        ctx.meta[TYPED] = words
        stop.parse_args(ctx, list(words))
        return rebuild_command(**how).removeprefix("bulkstop ")  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bulkstop"])


class TestWords:
    """The typed words that a rebuilt command keeps."""

    @pytest.mark.parametrize(
        ("typed", "kept"),
        [
            ("stop a.csv --host h", "a.csv --host h --resume"),
            ("stop 'a b.csv' --config=my.toml -oc.jsonl --overwrite", "'a b.csv' --config my.toml -o c.jsonl --resume"),
            ("stop -o c.jsonl --retry not_found --yes a b", "a b -o c.jsonl --yes --resume"),
            (
                "stop --no-jti --quota 5/1s --quota 9/9s -- -x.csv",
                "./-x.csv --no-jti --quota 5/1s --quota 9/9s --resume",
            ),
            ("stop a --token-file '$HOME/t' --resume", "a --token-file '$HOME/t' --resume"),
        ],
    )
    def test_kept(self, typed: str, kept: str) -> None:
        """All words are kept, quoted for the shell, except those that change."""
        drop = {"overwrite", "resume", "retry", "retry_failed"}
        assert rebuilt(*shlex.split(typed)[1:], drop=drop, add=["--resume"]) == f"stop {kept}"

    def test_no_secret(self) -> None:
        """A possible secret is replaced by its variable; a URL without a password is shown."""
        line = rebuilt(
            *("a", "--token-command", "get s3cret", "--proxy=http://u:s3cret@p:1", "--quota-store", "redis://h:6379")
        )
        variables = '--token-command "$BULKSTOP_TOKEN_COMMAND" --proxy "$BULKSTOP_PROXY"'
        assert line == f"stop a {variables} --quota-store redis://h:6379"
        for url in ("redis://:s3cret@h", "redis://h?password=s3cret"):
            assert "s3cret" not in rebuilt("a", "--quota-store", url)

    def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Settings from variables become options, except secrets; typed options are not repeated."""
        for name, text in (("HOST", "h"), ("PROFILE", "p q"), ("QUOTA", "5/1s 9/9s"), ("JTI", "no"), ("TYPE", "sms")):
            monkeypatch.setenv(f"BULKSTOP_{name}", text)
        monkeypatch.setenv("BULKSTOP_TOKEN_COMMAND", "get s3cret")
        monkeypatch.setenv("BULKSTOP_PROXY", "http://u:s3cret@p:1")
        words = shlex.split(rebuilt("a", "--host", "typed"))
        assert "s3cret" not in words
        assert words[:4] == ["stop", "a", "--host", "typed"]
        assert "--profile 'p q' " in shlex.join(words) + " "
        assert words.count("--host") == 1
        assert [words[i + 1] for i, word in enumerate(words) if word == "--quota"] == ["5/1s", "9/9s"]
        assert "--no-jti" in words

    def test_recorded(self) -> None:
        """In a command from a manifest, hidden secrets are replaced by their variables."""
        words = ["bulkstop", "stop", "a b", "--overwrite", "--token-command=(hidden)", "--proxy", "(hidden)", "--yes"]
        line = rebuild_recorded(words, stop, drop={"overwrite"}, add=["--resume"])
        there = '--token-command "$BULKSTOP_TOKEN_COMMAND" --proxy "$BULKSTOP_PROXY"'
        assert line == f"bulkstop stop 'a b' {there} --yes --resume"

    @pytest.mark.parametrize("value", ["memory", "/a/b?.db", "redis://h:6379"])
    def test_recorded_as_it_is(self, value: str) -> None:
        """Values without secrets are in a manifest, and in a command made from it, as typed."""
        words = command_line(["/usr/bin/bulkstop", "stop", "a", "--quota-store", value])
        assert shlex.split(rebuild_recorded(words, stop, inputs=["b"])) == [
            "bulkstop",
            "stop",
            "b",
            "--quota-store",
            value,
        ]


class TestProgram:
    """How the shell finds the program."""

    def test_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A program run with `-m` is run again by the same interpreter."""
        monkeypatch.setattr("sys.argv", ["/x/bulkstop/__main__.py"])
        monkeypatch.setattr("sys.executable", "/my env/python")
        assert again.name_program() == "'/my env/python' -m bulkstop"

    def test_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A program on the PATH is called by its name, another one by its path."""
        script = tmp_path / "bulkstop"
        script.touch(0o755)
        monkeypatch.setattr("sys.argv", [str(script)])
        monkeypatch.setenv("PATH", str(tmp_path))
        assert again.name_program() == "bulkstop"
        monkeypatch.setenv("PATH", "/nowhere")
        assert again.name_program() == str(script)


def paste(here: Here, run: Ended, *, count: int = 1) -> list[Ended]:
    """Run each suggested command in a shell."""
    found = HANDED_OUT.findall(run.err + run.out)
    assert len(found) == count, run
    return [here(*shlex.split(command)[1:]) for command in found]


@pytest.mark.real
class TestEnds:
    """Each suggested command works unchanged in the same folder."""

    @pytest.fixture
    def where(self, here: Here, sim: Simulated, tmp_path: Path) -> Here:
        """Write a list and a profile whose names need quotes."""
        campaigns(tmp_path / ODD, FEW)
        (tmp_path / "my.toml").write_text(PROFILE.format(sim.url))
        return here

    OPTIONS = ("--config", "my.toml", "--profile", "prod eu")

    def test_guard(self, where: Here, tmp_path: Path) -> None:
        """A run that a guard ended continues, even if --overwrite was given."""
        with simulator(tmp_path, "--unknown", "not_found") as strict:
            args = ("--host", strict.url, "--max-failures", "1", "--expect", "3", "--overwrite")
            run = where("stop", ODD, *self.OPTIONS, *args)
            assert run.code == 3
            (on,) = paste(where, run)
        assert on.code == 3
        assert "rows = lines" in on.err

    def test_what_failed(self, where: Here, tmp_path: Path) -> None:
        """The suggested command sends again what failed, for any reason of failure."""
        with simulator(tmp_path, "--fail-first", "100%") as shaky:
            run = where("stop", ODD, *self.OPTIONS, "--host", shaky.url, "--yes", "--attempts", "1")
            assert run.code == 1
            (on,) = paste(where, run)
        assert (on.code, "rows = lines  3 = 3" in on.err) == (0, True)

    def test_discover_and_verify(self, where: Here, tmp_path: Path) -> None:
        """Discovered campaigns are stopped by the suggested command.

        Those that still run, by that of `verify` and `stop --verify`.
        """
        with simulator(tmp_path, "--campaigns", "40") as own:
            discovered = where("discover", *self.OPTIONS, "--host", own.url, "-o", "what runs.csv")
            assert discovered.code == 0
            (command,) = HANDED_OUT.findall(discovered.err)
            dry = where(*shlex.split(command)[1:], "--dry-run")
            assert (dry.code, "to stop" in dry.err) == (0, True)
            some = (tmp_path / "what runs.csv").read_text().splitlines()
            (tmp_path / "one.csv").write_text("\n".join(some[:2]) + "\n")
            first = where("stop", "one.csv", *self.OPTIONS, "--host", own.url, "--yes", "--verify")
            assert first.code in (0, 1)
            for hint in HANDED_OUT.findall(first.err):
                assert where(*shlex.split(hint)[1:], "--dry-run").code == 0
            assert paste(where, discovered)[0].code in (0, 1)

    @pytest.mark.full
    @pytest.mark.parametrize("words", [("verify",), ("stop", "--verify", "--yes", "--overwrite", "-o", "r.jsonl")])
    def test_what_runs_again(self, words: tuple[str, ...], where: Here, tmp_path: Path) -> None:
        """If a schedule starts campaigns at rest again, the command disables it; then none is left."""
        with simulator(tmp_path, "--campaigns", "40", "--seed", "3") as own:
            to = (*self.OPTIONS, "--host", own.url)
            assert where("discover", *to, "--status", "Scheduled", "-o", "l.csv").code == 0
            assert where("stop", "l.csv", *to, "--yes").code == 0
            found = where(*words[:1], "l.csv.results.jsonl" if words == ("verify",) else "l.csv", *words[1:], *to)
            assert (found.code, "will run again" in found.err + found.out) == (1, True), found
            (on,) = paste(where, found)
            listed = next(path.name for path in tmp_path.iterdir() if path.name.endswith(".running.csv"))
            assert where("verify", f"{listed}.results.jsonl", *to).code == 0
        assert (on.code, "DONE: all" in on.err) == (0, True), on

    def test_results_that_exist(self, where: Here, tmp_path: Path) -> None:
        """If the results of a list exist, those of a new list with its name go to another file."""
        with simulator(tmp_path, "--campaigns", "40", "--seed", "3") as own:
            for number in range(2):
                names = ("verify", "l.csv", "-o", "again.csv") if number else ("discover", "-o", "l.csv")
                told = where(*names, *self.OPTIONS, "--host", own.url)
                (command,) = HANDED_OUT.findall(told.err + told.out)
                listed = names[-1]
                assert " -o " not in command
                (tmp_path / f"{listed}.results.jsonl").touch()
                told = where(*names, *self.OPTIONS, "--host", own.url, "--overwrite")
                (command,) = HANDED_OUT.findall(told.err + told.out)
                assert f" -o {listed}.results-2.jsonl " in command
                assert where(*shlex.split(command)[1:], "--dry-run").code == 0

    def test_report(self, where: Here, sim: Simulated, tmp_path: Path) -> None:
        """`report` suggests the command of the last run, from any folder."""
        run = where("stop", ODD, *self.OPTIONS, "--yes", "--quiet")
        assert run.code == 0
        results = tmp_path / f"{ODD}.results.jsonl"
        results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:2]))
        told = where("report", str(results))
        (command,) = HANDED_OUT.findall(told.out)
        assert shlex.split(command)[1:] == ["stop", ODD, *self.OPTIONS, "--yes", "--quiet", "--resume"]


@pytest.mark.full
@pytest.mark.real
def test_in_a_shell(tmp_path: Path) -> None:
    """The suggested line continues the run in a shell, with the list from the redirected file."""
    campaigns(tmp_path / ODD, FEW)
    with simulator(tmp_path, "--unknown", "not_found") as sim:
        options = f"--format csv --host {sim.url} --quota none --yes --max-failures 1"
        go_on = "sed -n 's/^To go on: //p' said > again.sh; sh again.sh"
        run = shell(f"bulkstop stop - {options} < {shlex.quote(ODD)} 2> said; {go_on}", cwd=tmp_path)
    assert run.code == 3
    assert "rows = lines  3 = 3" in run.err
    assert f" < '{tmp_path}/" in (tmp_path / "again.sh").read_text()


def test_without_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a list from a pipe, the line says that the list is needed again."""
    monkeypatch.setattr(again, "find_redirected", lambda: None)
    assert again.needs_stdin(["-"])
    assert not again.needs_stdin(["a.csv"])
    assert rebuilt("-", "--yes") == "stop - --yes"
