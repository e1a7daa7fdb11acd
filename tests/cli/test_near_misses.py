"""For an unknown word, the message suggests the nearest known one, in every kind of name."""

import os
from pathlib import Path

import click
import pytest

from bulkstop.cli.words.naming import WordChoice
from bulkstop.settings import OPTION_SPECS
from tests.cli.conftest import Here
from tests.cli.test_one_grammar import params

HOST = ("--host", "http://127.0.0.1:9", "--account-id", "a", "--stream-id", "s")
CHOICES = [
    pytest.param(param, id=f"{name} {param.opts[-1]}")
    for name, param in params()
    if isinstance(param.type, click.Choice) or "|" in (param.metavar or "")
]
CSV = "campaign_id,campaign_type,account_id,stream_id\ncd-1,voice,a,s\n"


@pytest.mark.parametrize("param", CHOICES)
def test_choices(param: click.Option) -> None:
    """Every option with a choice of words suggests the nearest; its own error lists the words."""
    if param.name in ("expect", "max_failures", "waves"):
        return  # it takes numbers
    with pytest.raises(click.BadParameter, match="is not one of ") as caught:
        param.type.convert("zzzzz", param, None)
    words = caught.value.message.partition("is not one of ")[2].split(", ")
    for word in words:
        slip = f"{word[:2]}{word[1:]}"  # a letter twice
        with pytest.raises(click.BadParameter, match=f"did you mean {word}\\?"):
            param.type.convert(slip, param, None)
        assert str(param.type.convert(word.upper(), param, None)) == word


def test_every_choice_suggests() -> None:
    """No option has a choice of click's own."""
    assert [param for _, param in params() if type(param.type) is click.Choice] == []
    assert any(type(param.type) is WordChoice for _, param in params())


@pytest.mark.parametrize("name", [name for name, spec in OPTION_SPECS.items() if not spec.secret])
def test_keys(here: Here, tmp_path: Path, name: str) -> None:
    """Every profile key is suggested for a misspelling of it."""
    key = OPTION_SPECS[name].option(name)[2:].replace("-", "_")
    (tmp_path / "bulkstop.toml").write_text(f'[profile.default]\n{key}x = "1"\n')
    run = here("token")
    assert (run.code, f"unknown key '{key}x'; did you mean {key}?" in run.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("stop", "a.csv", *HOST, "--dry_run"), "--dry-run"),
        (("stop", "a.csv", *HOST, "--expct", "3"), "--expect"),
        (("stop", "a.csv", *HOST, "-dry-run"), "did you mean --dry-run?"),
        (("stop", "a.csv", *HOST, "--runing"), "did you mean --running?"),
        (("stop", "a.csv", *HOST, "--nonsense"), "; see bulkstop stop --help"),
        (("stop", "a.csv", *HOST, "-profile", "p"), "did you mean --profile?"),
        (("stop", "a.csv", *HOST, "--retry", "not-fond"), "did you mean not_found?"),
        (("stop", "a.csv", *HOST, "--tz", "berlin"), "did you mean Europe/Berlin?"),
        (("stop", "a.csv", *HOST, "--tz", "Asia/Calcuta"), "did you mean Asia/Calcutta?"),
        (("stop", "a.csv", *HOST, "--profile", "prd"), "did you mean prod?"),
        (("load", *HOST[:2], "--rate", "1/s", "--count", "1", "--require", "eror<1%"), "did you mean errors?"),
        (("Repot",), "did you mean report?"),
    ],
)
def test_names(here: Here, tmp_path: Path, words: tuple[str, ...], meant: str) -> None:
    """Options, outcomes, zones, profiles, figures and commands."""
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "bulkstop.toml").write_text('[profile.prod]\nquota = "none"\n')
    run = here(*words)
    assert (run.code, run.err.count("\n")) == (2, 1)
    assert meant in run.err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("b.csv", "campain_id,type\ncd-1,voice\n", "name 'campain_id' campaign_id"),
        ("b.csv", "campaign_id,campaign_typ\ncd-1,voice\n", "('campaign_typ' looks like it: name it campaign_type)"),
        ("b.csv", "campaign_id,type,acount_id\ncd-1,sms,a\n", "('acount_id' looks like it: name it account_id)"),
        ("b.jsonl", '{"campain_id": "cd-1"}\n', "no campaign id ('campain_id' looks like it: name it campaign_id)"),
        ("b.csv", "name,campaign\nx,y\n", "name it campaign_id, campaignId, id or _id"),
    ],
)
def test_columns(here: Here, tmp_path: Path, name: str, text: str, said: str) -> None:
    """A probable column or key is suggested for a missing one; a column of names is not read as ids."""
    (tmp_path / name).write_text(text)
    run = here("stop", name, "--host", "http://127.0.0.1:9", "--stream-id", "s", "--dry-run")
    assert run.code == 2
    assert said in run.err


@pytest.mark.skipif(os.name != "posix", reason="shells of other systems complete in other ways")
def test_completion(here: Here) -> None:
    """A shell still completes the words of a choice."""
    run = here("--help", variables={"_BULKSTOP_COMPLETE": None})
    assert run.code == 0
    choice = next(param.type for _, param in params() if isinstance(param.type, WordChoice))
    with click.Context(click.Command("x")) as ctx:
        completed = choice.shell_complete(ctx, click.Option(["--x"]), "c")
    assert [each.value for each in completed] == ["csv"]
