"""`bulkstop check`: shows on one screen what a profile reaches, with one call."""

import base64
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bulkstop.runs.lists.check import read_clock
from tests.cli.conftest import Here, MakeList
from tests.processes import Ended, Simulated, apart, simulator

pytestmark = pytest.mark.real

WHERE = ("--account-id", "a1", "--stream-id", "st-1")
CLAIMS = base64.urlsafe_b64encode(b'{"exp": 1000000000}').decode().rstrip("=")
ALIASES = "campaign_id from 'campaignId', campaign_type from 'type'"
EXPIRED = f"e30.{CLAIMS}.c2ln"


@contextmanager
def serve_lists(statuses: Mapping[str, int], ahead_s: float = 0.0) -> Iterator[str]:
    """Serve empty lists of each type, or refuse them, with a clock that is ahead; return the address."""

    class Lists(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kind = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["type"]
            body = json.dumps({"status": "success", "data": {"results": [], "hasMore": False}}).encode()
            self.send_response(statuses[kind])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + ahead_s, usegmt=True)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Lists)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def tell(run: Ended) -> list[str]:
    """Return the printed lines, with each gap as one blank."""
    return [" ".join(line.split()) for line in run.out.splitlines()]


def test_all_is_well(here: Here, tmp_path: Path) -> None:
    """Check reads one page of each type's list, and one campaign; it stops nothing, and the verdict is last."""
    with simulator(tmp_path, "--campaigns", "300") as sim:
        run = here("check", "--host", sim.url, *WHERE)
        assert (run.code, run.err, len(sim.requests())) == (0, "", 4)
        only_sms = here("check", "--host", sim.url, *WHERE, "--type", "sms")
        assert (only_sms.code, "voice" in only_sms.out) == (0, False)
        operations = [request["operation"] for request in sim.requests()]
        assert operations == ["list", "list", "status", "get", "list", "status", "get"]
    lines = tell(run)
    assert f"host {sim.url} (plain http)" in lines
    voice, sms = (line for line in lines if "campaigns of account a1, stream st-1: " in line)
    assert voice.startswith("scope voice campaigns of account a1, stream st-1: 50 run now on the first page; there ")
    assert sms.startswith("sms campaigns of account a1, stream st-1: ")
    assert "clock as the service's" in lines
    paths = [line.partition(": ")[2] for line in lines if re.match("(list|status|get) path ", line)]
    assert paths == ["v2 answers", "answers", "answers"]
    assert lines[-1] == "READY: the service was reached, took the token and gave its lists"


def test_input(here: Here, sim: Simulated, tmp_path: Path) -> None:
    """Check shows each input's format, columns and first ids, and reads the lists of its campaigns."""
    rows = "".join(f"cd-{number},SMS,a2,st-{number // 2},x\n" for number in range(7))
    (tmp_path / "it's a list.csv").write_text(f"campaignId,type,account_id,stream_id,city\n{rows}")
    (tmp_path / "ids.txt").write_text("cd-8\n")
    (tmp_path / "keys.jsonl").write_text('{"_id": "cd-9", "name": "n", "campaign_type": "sms"}\n')
    words = ("check", "it's a list.csv", "ids.txt", "keys.jsonl", "--host", sim.url, *WHERE, "--type", "voice")
    run = here(*words)
    lines = tell(run)
    assert run.code == 0, run
    first = lines.index("input 9 rows: 9 to stop, 0 invalid, 0 protected or duplicate")
    assert lines[first + 1 : -1] == [
        "first ids cd-0, cd-1, cd-2, cd-3, cd-4",
        f"read as it's a list.csv: csv, {ALIASES}, account_id, stream_id; carried along: city",
        "ids.txt: txt, one id a line",
        "keys.jsonl: jsonl, campaign_id from '_id', name, campaign_type",
        "warning 7 campaigns are of another account than --account-id a1: a2 (7)",
    ]
    names = [scope["name"] for scope in json.loads(here(*words, "--json").out)["scopes"]]
    assert names == [
        "voice campaigns of account a1, stream st-1",
        *(f"sms campaigns of account a2, stream st-{number}" for number in range(4)),
        "sms campaigns of account a1, stream st-1",
    ]


def test_many_lists(here: Here, sim: Simulated, make_list: MakeList) -> None:
    """For a list with many streams, check reads only some lists, and says how many are unknown."""
    apart(make_list(12))
    run = here("check", "campaigns.csv", "--host", sim.url)
    assert (run.code, run.out.count("stream st-")) == (0, 8)
    assert "4 more in the list, which were not read" in tell(run)


def test_one_of_several(here: Here) -> None:
    """A list that cannot be read is the verdict, even if another can; a path that does not answer is called once."""
    with serve_lists({"voice": 200, "sms": 403}) as url:
        run = here("check", "--host", url, *WHERE)
    assert run.code == 1
    lines = tell(run)
    assert lines[-1].startswith("NOT READY: HTTP 403: wrong token, stream id or scope")
    assert lines[-1].endswith("(sms campaigns of account a1, stream st-1)")
    assert "scope voice campaigns of account a1, stream st-1: none runs now" in lines
    gone = here("check", "--host", "http://127.0.0.1:9", *WHERE)
    assert "sms campaigns of account a1, stream st-1: not read after that" in tell(gone)


def test_clock_that_is_off(here: Here) -> None:
    """A clock that is five minutes off is reported, with the checks that depend on it."""
    with serve_lists({"voice": 200, "sms": 200}, ahead_s=300) as url:
        run = here("check", "--host", url, *WHERE)
    (clock,) = (line for line in tell(run) if line.startswith("clock "))
    assert re.fullmatch(
        r"clock (5 min.*|\d min \d+ s|\d+\.\d s) behind the service's: correct it, because tokens .*", clock
    )


@pytest.mark.parametrize(
    ("words", "variables", "cause"),
    [
        (("--host", "http://127.0.0.1:9"), {}, "(ECONNREFUSED); nothing was sent"),
        ((), {"BULKSTOP_TOKEN": None}, "no credentials: set BULKSTOP_TOKEN"),
        ((), {"BULKSTOP_TOKEN": EXPIRED}, "the token expired at 2001-09-09T01:46:40Z by this machine's clock"),
        (("--token-file", "gone"), {"BULKSTOP_TOKEN": None}, "token file 'gone' cannot be read"),
        (("--ca", "gone"), {}, "--ca gone: "),
        (("--quota", "9/9s", "--quota-store", "redis://127.0.0.1:9"), {}, "--quota-store redis://127.0.0.1:9"),
        (("--quota", "9/9s", "--quota-store", "/dev/null/quota.sqlite"), {}, "/dev/null"),
    ],
)
def test_the_cause(
    words: tuple[str, ...], variables: dict[str, str | None], cause: str, here: Here, sim: Simulated
) -> None:
    """The cause is the verdict, with exit code 1, also with --json."""
    run = here("check", "--host", sim.url, *WHERE, *words, variables=variables)
    verdict = run.out.splitlines()[-1]
    assert (run.code, verdict.startswith("NOT READY: "), cause in verdict) == (1, True, True)
    told = json.loads(here("check", "--host", sim.url, *WHERE, *words, "--json", variables=variables).out)
    assert (told["exit_code"], told["is_listed"], cause in told["fault"]) == (1, False, True)


@pytest.mark.parametrize("transport", ["aiohttp", "wire"])
def test_dead_proxy(transport: str, here: Here) -> None:
    """An unreachable proxy is reported as such."""
    words = ("--host", "https://api.example", *WHERE, "--transport", transport)
    run = here("check", *words, variables={"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""})
    assert "NOT READY: no connection to the proxy 127.0.0.1:9 (ECONNREFUSED)" in run.out, run


def test_a_wrong_secret(here: Here, tmp_path: Path) -> None:
    """A secret with which the service refuses tokens is found, which `bulkstop token` cannot do."""
    secret = "a-secret-of-32-characters-or-more"
    with simulator(tmp_path, "--client-id", "c", BULKSTOP_CLIENT_SECRET=secret) as sim:
        words = ("check", "--host", sim.url, *WHERE, "--client-id", "c")
        wrong = here(*words, variables={"BULKSTOP_TOKEN": None, "BULKSTOP_CLIENT_SECRET": secret[::-1]})
        assert (wrong.code, "NOT READY: HTTP 401" in wrong.out) == (1, True)
        right = here(*words, variables={"BULKSTOP_TOKEN": None, "BULKSTOP_CLIENT_SECRET": secret})
        assert (right.code, "renewed when needed" in right.out) == (0, True)


@pytest.mark.parametrize(
    ("profile", "cause", "needs_list"),
    [
        ('protect = ["nofile"]', "nofile", False),
        ('finish_by = "2020-01-01T09:30:00Z"', "--finish-by", False),
        ("max_campaigns = 3", "--max-campaigns 3: the list has 24 campaigns to stop", True),
        ("expect_accounts = 1", "--expect-accounts 1: the list has campaigns of 2 accounts", True),
        ('quota = ["2/1h"]\nfinish_by = "+1h"', "--finish-by cannot be met: at least ", True),
        ('token_command = "no-such-program"', "token command", False),
    ],
)
def test_what_stop_would_refuse(
    profile: str, cause: str, needs_list: bool, here: Here, sim: Simulated, tmp_path: Path
) -> None:
    """A profile that `stop` would refuse is the verdict; with a list, so is everything that a dry run finds."""
    (tmp_path / "list.csv").write_text(
        "campaign_id,type,account_id,stream_id\n" + "".join(f"cd-{n},voice,a{n % 2},st-1\n" for n in range(24))
    )
    (tmp_path / "bulkstop.toml").write_text(
        f'[profile.p]\nhost = "{sim.url}"\naccount_id = "a1"\nstream_id = "st-1"\nquota_store = "memory"\n{profile}\n'
    )
    variables: dict[str, str | None] = {"BULKSTOP_QUOTA": None}
    variables |= {"BULKSTOP_TOKEN": None} if "token" in profile else {}
    dry = here("stop", "list.csv", "--profile", "p", "--dry-run", variables=variables)
    assert (dry.code in (2, 4), cause in dry.err) == (True, True), dry
    run = here("check", "list.csv", "--profile", "p", variables=variables)
    verdict = run.out.splitlines()[-1]
    assert (run.code, run.err, verdict.startswith("NOT READY: "), cause in verdict) == (1, "", True, True), run
    alone = here("check", "--profile", "p", variables=variables)
    verdict = alone.out.splitlines()[-1]
    assert (alone.code, cause in verdict) == ((0, False) if needs_list else (1, True)), alone


def test_result_file_that_exists(here: Here, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
    """A list whose result file exists is not ready, because `stop` would refuse it."""
    make_list(2)
    (tmp_path / "campaigns.csv.results.jsonl").write_text("{}\n")
    run = here("check", "campaigns.csv", "--host", sim.url, *WHERE)
    assert (run.code, run.out.splitlines()[-1].startswith("NOT READY: campaigns.csv.results.jsonl")) == (1, True), run


def test_several_causes(here: Here, make_list: MakeList) -> None:
    """With several causes, one is the verdict, and the others are reported as well."""
    make_list(2)
    run = here("check", "campaigns.csv", "--host", "http://127.0.0.1:9", *WHERE, variables={"BULKSTOP_PROTECT": "gone"})
    assert run.code == 1
    assert "also" in run.out
    assert "gone" in run.out
    assert "ECONNREFUSED" in run.out.splitlines()[-1]


def test_unusable_rows(here: Here, sim: Simulated, make_list: MakeList) -> None:
    """Unusable rows are counted, and the first is named; an unreadable list is exit code 2."""
    with make_list(2).open("a") as file:
        file.write("..,voice,a,st\n")
    run = here("check", "campaigns.csv", "--host", sim.url, *WHERE)
    assert (run.code, run.out.splitlines()[-1]) == (1, "NOT READY: 1 of 3 rows cannot be used")
    assert "campaigns.csv line 4: campaign id '..' is a path step" in run.out
    gone = here("check", "gone.csv", "--host", sim.url, *WHERE)
    assert (gone.code, gone.out.splitlines()[-1].startswith("NOT READY: gone.csv: ")) == (2, True), gone
    assert json.loads(here("check", "gone.csv", "--host", sim.url, "--json").out)["exit_code"] == 2


def test_no_profile(here: Here, sim: Simulated) -> None:
    """Without a profile, the message says that one may have the missing settings."""
    run = here("check", "--host", sim.url)
    assert (run.code, run.out.splitlines()[-1].startswith("NOT READY: --account-id: is missing; ")) == (1, True)
    assert "a profile that has it (--profile NAME)" in run.out


def test_no_such_profile(here: Here, tmp_path: Path) -> None:
    """An unknown profile is exit code 2, and the existing ones are named."""
    (tmp_path / "bulkstop.toml").write_text('[profile.prod]\nhost = "api.example"\n')
    run = here("check", "--profile", "prd")
    assert (run.code, "prd" in run.err, "prod" in run.err) == (2, True, True)


def test_clock() -> None:
    """The clock difference is that to the `Date` header."""
    assert read_clock("Thu, 01 Jan 1970 00:01:00 GMT", 90.0) == 30.0
    assert read_clock("yesterday", 90.0) is None
