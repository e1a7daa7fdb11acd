"""What `bulkstop stop` refuses: exit 2, one line with the remedy, no files left, and no socket opened.

Most tests lack the mark for sockets, so that an opened one would fail them.
"""

from collections.abc import Mapping

import jwt
import pytest

from tests.cli.conftest import Here

HEAD = "campaign_id,campaign_type,account_id,stream_id\n"
LIST = HEAD + "".join(f"cd-{number},voice,a,st-1\n" for number in range(3))
HOST = ("--host", "http://127.0.0.1:9")
ONE_KIND = ("--type", "voice", "--account-id", "a", "--stream-id", "st-1")
EXPIRED = jwt.encode({"sub": "u", "exp": 1_700_000_000}, "k" * 40)
CONFIRM = "there is no terminal to confirm on; give --expect N, --expect A..B or --yes"
STARTS = pytest.mark.real
"""Faults that are found when the run has begun, with its watchdog, but before its calls."""
OTHER_NUMBER = "--expect: the list has 3 campaigns to stop, not"
SLIPS = '[profile.default]\natempts = 3\n[profile.prod]\ntoken = "x"\n'


def refuse(
    here: Here,
    said: str,
    *args: str,
    files: Mapping[str, str | bytes],
    stdin: str = "",
    variables: Mapping[str, str | None] | None = None,
) -> None:
    """Run `stop` with files in its folder; check the one line, and that no other files remain."""
    data = {name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()}
    for name, content in data.items():
        (here.folder / name).write_bytes(content)
    run = here("stop", "--quiet", *args, stdin=stdin, variables=variables)
    assert (run.code, run.out) == (2, ""), run.err
    *warnings, why = run.err.splitlines()
    assert all(line.startswith("warning: ") for line in warnings)
    assert why.startswith("bulkstop: ")
    assert said in why
    assert {path.name: path.read_bytes() for path in here.folder.iterdir()} == data


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("list.csv", "", "list.csv: is empty; its first line must name the columns, at least campaign_id"),
        ("list.csv", HEAD, "the list has no campaign to stop; nothing was sent"),
        (
            "list.csv",
            "phone,name\n+49123,A\n",
            "no column with campaign ids among 'phone', 'name'; name it",
        ),
        ("list.csv", "cd-1\ncd-2\n", "first list.csv line 1: no campaign_type in the row; give --type"),
        ("list.csv", "65b1ee85b0c6\n", "this line looks like an id: --no-header reads a list without names of columns"),
        ("list.csv", HEAD.encode("utf-16"), "the list has no campaign to stop; nothing was sent"),
        ("list.csv", b"PK\x03\x04\x14\x00\x06\x00\x08", "cannot be read: the packed file is damaged; fetch it again"),
        ("list.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "cannot be read as a workbook; save it as CSV (UTF-8)"),
        ("list.csv", "\ufeff<!DOCTYPE html>\n", "is a web page or XML, not a list; was a sign-in page saved"),
        ("list.csv", HEAD + 'cd-1,voice,"a,st-1\ncd-2,voice,a,st\n', "a quote in this row is never closed"),
        ("list.csv", HEAD + "cd-1,email,a,st-1\n", "line 2: campaign_type is 'email'; it can be voice or sms"),
        ("list.csv", "campaign_id\ncd-1\n", "first list.csv line 2: no campaign_type in the row; give --type"),
        ("list.jsonl", '[\n  "cd-1",\n  "cd-2"\n', "list.jsonl: line 3, column 10: not JSON: it breaks off"),
        ("list.jsonl", '{"id": "cd-1"\n', "first list.jsonl line 1: not JSON: it breaks off"),
        ("list.jsonl", "none today\n", "line 1: not JSON"),
        ("list.dat", "none today\n", "list.dat: the format is unknown: name it .csv"),
    ],
)
def test_no_list(name: str, data: str | bytes, said: str, here: Here) -> None:
    """An empty, foreign or broken list is refused with the remedy."""
    refuse(here, said, name, "--yes", *HOST, *(ONE_KIND if name == "list.jsonl" else ()), files={name: data})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.csv", "gone.csv: cannot be read: No such file or directory"),
        ("/", "/: is a directory; name the files in it"),
    ],
)
def test_no_such_list(name: str, said: str, here: Here) -> None:
    """A name without a list is refused."""
    refuse(here, said, name, "--format", "csv", "--yes", *HOST, files={})


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--no-such-option",), "--no-such-option"),
        (("--expect", "5..3"), "'--expect'"),
        (
            ("--host", "http://platform.example"),
            "plain http would show the token to the network; use https, or --insecure",
        ),
        (("--host", "platform.example/?x=1"), "is not a host such as platform.kore.ai or https://host:8443"),
        (("--config", "no.toml"), "--config no.toml: no such file"),
        pytest.param(("--ca", "no.pem"), "--ca no.pem", marks=STARTS),
        (("-o", "no/such/folder.jsonl"), "no/such/folder.jsonl: cannot be opened"),
        (("-o", "list.csv", "--overwrite"), "is an input"),
        (("--token-command", "false"), "more than one of BULKSTOP_TOKEN"),
        (("--expect", "2"), OTHER_NUMBER),
        (("--expect", "4..9"), OTHER_NUMBER),
        (("--max-campaigns", "2"), "--max-campaigns 2: the list has 3 campaigns to stop; nothing was sent"),
        (("--protect", "no.txt"), "--protect no.txt: cannot be read: No such file or directory"),
    ],
)
def test_options(args: tuple[str, ...], said: str, here: Here) -> None:
    """A wrong option is named."""
    refuse(here, said, "list.csv", "--yes", *HOST, *args, files={"list.csv": LIST})


@pytest.mark.parametrize("rules", ["# nothing yet\n", "cd-1,cd-2\n", "cd-[\n"])
def test_a_file_that_protects_nothing(rules: str, here: Here) -> None:
    """A file of `--protect` that is empty, or of another format, ends the run before the first call."""
    said = {"#": "contains no rule", "c": "line 1: 'cd-1,cd-2' holds ','"}
    why = "line 1: 'cd-[' has a [ without its ]" if "[" in rules else said[rules[0]]
    files = {"list.csv": LIST, "keep.txt": rules}
    refuse(here, f"--protect keep.txt: {why}", "list.csv", "--yes", *HOST, "--protect", "keep.txt", files=files)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"BULKSTOP_TOKEN": None}, "no credentials: set BULKSTOP_TOKEN, give --token-file or --token-command, or set"),
        pytest.param({"BULKSTOP_TOKEN": None, "BULKSTOP_TOKEN_FILE": "no-token"}, "no-token", marks=STARTS),
        pytest.param({"BULKSTOP_TOKEN": EXPIRED}, "the token expired at 2023-11-14T22:13:20Z by this", marks=STARTS),
        ({"BULKSTOP_TOKEN": "Bearer abcdefghijklmnop"}, "give the bare token, without 'Bearer'"),
        ({"BULKSTOP_MAX_CAMPAIGNS": "2"}, "--max-campaigns 2: the list has 3 campaigns to stop"),
    ],
)
def test_variables(variables: dict[str, str | None], said: str, here: Here) -> None:
    """Missing or bad credentials, and limits of the environment, are found in advance."""
    refuse(here, said, "list.csv", "--yes", *HOST, files={"list.csv": LIST}, variables=variables)


@pytest.mark.parametrize(
    ("profile", "args", "said"),
    [
        (SLIPS, (), "unknown key 'atempts'; did you mean attempts?"),
        (SLIPS, ("--profile", "prod"), "token is a secret"),
        (None, ("--profile", "prod"), "--config bulkstop.toml: no such file"),
        ("[profile.default]\nmax_campaigns = 2\n", (), "--max-campaigns 2: the list has 3 campaigns to stop"),
    ],
)
def test_profile(profile: str | None, args: tuple[str, ...], said: str, here: Here) -> None:
    """A profile with a mistake or a secret is refused; its limits apply."""
    files = {"list.csv": LIST} if profile is None else {"list.csv": LIST, "bulkstop.toml": profile}
    refuse(here, said, "list.csv", "--yes", *HOST, *args, files=files)


def test_nothing_given(here: Here) -> None:
    """Without a list or a host, nothing is guessed."""
    refuse(here, "INPUT", files={})
    refuse(here, "--host: is missing", "list.csv", "--yes", files={"list.csv": LIST})


@pytest.mark.parametrize("stdin", ["", "yes\n" * 99, "3\n"])
def test_nobody_to_confirm(stdin: str, here: Here) -> None:
    """From cron or a pipe nobody can answer: `yes | bulkstop stop ...` and the number confirm nothing."""
    refuse(here, CONFIRM, "list.csv", *HOST, files={"list.csv": LIST}, stdin=stdin)


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
def test_an_input_under_another_name(option: str, here: Here) -> None:
    """The results never replace the list, under any name of it."""
    (here.folder / "list.csv").write_text(LIST)
    (here.folder / "link.csv").symlink_to("list.csv")
    run = here("stop", "list.csv", "--yes", *HOST, option, "-o", "link.csv")
    assert (run.code, "is an input" in run.err, (here.folder / "list.csv").read_text()) == (2, True, LIST)


def test_strict(here: Here) -> None:
    """`--strict` sends nothing if one row cannot be used, and names that row."""
    said = "--strict: 1 row cannot be used (first list.csv line 5:"
    refuse(here, said, "list.csv", "--yes", *HOST, "--strict", files={"list.csv": LIST + "..,voice,a,st\n"})


@pytest.mark.parametrize(
    ("args", "variables", "said"),
    [
        ((), {}, "list.csv.results.jsonl: exists already; give --resume to continue it, --overwrite, or -o with"),
        (("--overwrite",), {"BULKSTOP_TOKEN": None}, "no credentials"),
        (("--overwrite",), {"BULKSTOP_MAX_CAMPAIGNS": "2"}, "--max-campaigns 2"),
    ],
)
def test_existing_results(args: tuple[str, ...], variables: dict[str, str | None], said: str, here: Here) -> None:
    """An existing result file is unchanged, even with --overwrite if the start fails."""
    files = {"list.csv": LIST, "list.csv.results.jsonl": "precious\n"}
    refuse(here, said, "list.csv", "--yes", *HOST, *args, files=files, variables=variables)
