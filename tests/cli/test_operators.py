"""Operators' mistakes: wrong lists, hosts, words, and no terminal; judged by the calls that were made.

Each test checks the message, whether it comes before the first call or after how many, and the exit code.
"""

import asyncio
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.processes import COMMAND, WAIT_S, Ended, bulkstop, checked, environment, results
from tests.servers import Connection, authority, http, listening

pytestmark = pytest.mark.real

HEAD = "campaign_id,campaign_type,account_id,stream_id\n"
ABSENT = http(b"<html>404</html>", status="404 Not Found")
REFUSED = http(b'{"errors":[{"msg":"unauthorized","code":4002}]}', status="401 Unauthorized")
FINISHED = http(b'{"errors":[{"msg":"Campaign is not active"}]}', status="409 Conflict")
SIGN_IN = http(b"<html><form action=/login>Sign in</form></html>", "Content-Type: text/html")
CONCURRENCY = 8
UNPACED = ("--yes", "--quota", "none", "--concurrency", str(CONCURRENCY))


@dataclass
class Service:
    """Answers each call by its path, and counts them."""

    answer: Callable[[str], bytes] = lambda path: http()
    calls: list[str] = field(default_factory=list)

    async def __call__(self, connection: Connection) -> None:
        """Answer the calls of a connection."""
        while (request := await connection.request()) is not None:
            self.calls.append(request.split(b" ", 2)[1].decode())
            await connection.write(self.answer(self.calls[-1]))

    @property
    def stops(self) -> list[str]:
        """The paths of the stop calls."""
        return [path for path in self.calls if "trigger=stop" in path]


@dataclass(frozen=True)
class Desk:
    """The workplace of an operator: a folder, and a service at `host`."""

    folder: Path
    host: str
    service: Service

    async def stop(self, *args: str, name: str = "list.csv", **variables: str | None) -> Ended:
        """Stop a list."""
        own = {"XDG_STATE_HOME": str(self.folder / "state")} | variables
        words = ("stop", name, "--host", self.host, *args)
        return await asyncio.to_thread(bulkstop, *words, cwd=self.folder, **own)

    def write(self, data: str | bytes, name: str = "list.csv") -> None:
        """Write a list."""
        (self.folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())

    def place(self, name: str) -> "Desk":
        """Return another folder to work in."""
        (self.folder / name).mkdir()
        return Desk(self.folder / name, self.host, self.service)

    def outcomes(self, name: str = "list.csv") -> Counter[str]:
        """Count the outcomes of the rows."""
        return Counter(line["outcome"] for line in results(self.folder / f"{name}.results.jsonl"))

    def check_refused(self, run: Ended, said: str, name: str = "list.csv") -> None:
        """Check that a run was refused before the first call, in one line with this text, and left no file."""
        assert run.code == 2, run.err
        assert said in run.err.splitlines()[-1]
        assert self.service.calls == []
        assert not (self.folder / f"{name}.results.jsonl").exists()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Open a desk at a service that stops every campaign."""
    service = Service()
    async with listening(service) as server:
        yield Desk(tmp_path, server.url, service)


def rows(count: int, prefix: str = "cd-", account: str = "a") -> str:
    """Write rows of a list."""
    return "".join(f"{prefix}{number:04},voice,{account},st-1\n" for number in range(count))


class TestLists:
    """A file that is not a list of campaigns is refused before the first call, with the remedy."""

    async def test_spreadsheets(self, desk: Desk) -> None:
        """Spreadsheet exports of any country are read: semicolons, tabs, a byte order mark, quotes, CR LF."""
        text = HEAD + rows(3)
        quoted = "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines())
        forms = [text.replace(",", ";"), text.replace(",", "\t"), f"\ufeff{text}", quoted]

        async def check(number: int, form: str) -> None:
            place = desk.place(str(number))
            place.write(form.replace("\n", "\r\n"))
            run = await place.stop("--expect", "3")
            assert run.code == 0, run.err
            assert place.outcomes() == {"stopped": 3}

        await asyncio.gather(*(check(number, form) for number, form in enumerate(forms)))
        assert len(desk.service.calls) == 3 * len(forms)

    async def test_one_bad_row(self, desk: Desk) -> None:
        """One unusable row is exit 1 and a line; the others are stopped; `--strict` sends nothing."""
        desk.write(HEAD + rows(2) + ",voice,a,st-1\n")
        desk.check_refused(
            await desk.stop("--yes", "--strict"), "--strict: 1 row cannot be used (first list.csv line 4"
        )
        assert (await desk.stop("--yes")).code == 1
        assert desk.outcomes() == {"stopped": 2, "invalid": 1}


class TestWrongCampaigns:
    """Lists of campaigns other than the intended ones."""

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (ABSENT, "the path template may be wrong for your deployment (--voice-path), or the list is of another"),
            (
                REFUSED,
                "failed (5 refused; the last one: HTTP 401: wrong token, stream id or scope, unauthorized): ",
            ),
        ],
        ids=["another environment", "wrong stream"],
    )
    async def test_all_wrong_alike(self, answer: bytes, said: str, desk: Desk) -> None:
        """Five campaigns are enough to detect it; exit 3 and one line."""
        desk.service.answer = lambda path: answer
        desk.write(HEAD + rows(200))
        run = await desk.stop(*UNPACED)
        assert run.code == 3
        assert said in run.err
        assert len(desk.service.stops) == 5
        assert desk.outcomes()["not_sent"] == 195

    async def test_instance_ids(self, desk: Desk) -> None:
        """A column of instance ids is refused; with --any-id it causes a warning, and costs a few calls."""
        desk.service.answer = lambda path: ABSENT
        desk.write(HEAD + rows(100, "cid-"))
        run = await desk.stop(*UNPACED)
        desk.check_refused(run, "100 of 100 cells of column 'campaign_id' cannot be campaign ids (first line 2: 'cid-0")
        run = await desk.stop("--dry-run", "--any-id")
        assert (run.code, desk.service.calls) == (0, [])
        assert "warning: 100 ids look like instance ids (cid-...): cid-0000, cid-0001, cid-0002 and 97 more;" in run.err
        assert (await desk.stop(*UNPACED, "--any-id")).code == 3
        assert len(desk.service.calls) <= 5 + CONCURRENCY

    async def test_ten_times_as_long(self, desk: Desk) -> None:
        """A list much longer than the last one causes a warning; `--expect` and `--max-campaigns` refuse it."""
        desk.write(HEAD + rows(5))
        assert (await desk.stop("--expect", "1..9")).code == 0
        del desk.service.calls[:]
        (desk.folder / "list.csv.results.jsonl").unlink()
        desk.write(HEAD + rows(50))
        warned = "warning: the list has 50 campaigns to stop, but the last list of this profile had 5 ("
        for guard, said in (
            ("--expect=1..9", "not 1 to 9; nothing was sent"),
            ("--max-campaigns=9", "--max-campaigns 9:"),
        ):
            run = await desk.stop("--yes", guard)
            assert warned in run.err
            desk.check_refused(run, said)

    async def test_finished_campaigns(self, desk: Desk) -> None:
        """Campaigns that have ended are not failures, by the list; the others are stopped."""
        ended = [{"_id": f"cd-{number:04}", "status": "Completed"} for number in range(10)]
        page = http(json.dumps({"status": "success", "data": {"results": ended, "hasMore": False}}).encode())

        def answer(path: str) -> bytes:
            if "getAllCampaignDetails" in path:
                return page
            return FINISHED if "/cd-000" in path else http()

        desk.service.answer = answer
        desk.write(HEAD + rows(20))
        assert (await desk.stop("--yes")).code == 0
        assert desk.outcomes() == {"already_stopped": 10, "stopped": 10}
        assert len(desk.service.calls) == 20 + 1

    async def test_claims_that_were_not_read_back(self, desk: Desk) -> None:
        """If a token failed before the list was read, the suggested commands check those claims again."""
        page = http(json.dumps({"status": "success", "data": {"results": [], "hasMore": False}}).encode())
        ended = {f"cd-{number:04}" for number in range(4)}

        def refuse(path: str) -> bytes:
            return FINISHED if "trigger=stop" in path and any(f"/{name}" in path for name in ended) else REFUSED

        desk.service.answer = refuse
        desk.write(HEAD + rows(12))
        run = await desk.stop(*UNPACED[:-1], "1")
        assert (run.code, desk.outcomes()["unconfirmed"]) == (3, 4), run
        (command,) = re.findall(r"^To go on: .*bulkstop (stop .*)$", run.err, re.MULTILINE)
        assert command.endswith(" --resume --retry unconfirmed")
        told = await asyncio.to_thread(bulkstop, "report", "list.csv.results.jsonl", cwd=desk.folder)
        assert re.search(rf"^  to go on +.*bulkstop {re.escape(command)}$", told.out, re.MULTILINE)
        desk.service.answer = lambda path: http() if "trigger=stop" in path else page
        on = await asyncio.to_thread(bulkstop, *shlex.split(command), cwd=desk.folder)
        assert (on.code, "DONE: all 12 stopped" in on.err) == (0, True), on


class TestWrongPlaces:
    """The host is not the API: nothing is proven or done, and the message says what is there."""

    async def test_nobody_listens(self, desk: Desk) -> None:
        """A closed port: a warning after ten attempts, exit 3 after `--max-outage`, nothing sent."""
        desk.write(HEAD + rows(50))
        elsewhere = Desk(desk.folder, "http://127.0.0.1:1", desk.service)
        began = time.monotonic()
        run = await elsewhere.stop(*UNPACED, "--max-outage", "1s")
        assert time.monotonic() - began < 30
        assert run.code == 3
        assert "WARNING breaker_opened" in run.err
        assert "--max-outage 1s: every probe has failed" in run.err
        assert "no connection to 127.0.0.1:1 (ECONNREFUSED); nothing was sent" in run.err
        assert set(desk.outcomes()) == {"connection_error", "not_sent"}

    @pytest.mark.parametrize(
        ("answer", "outcome"),
        [(SIGN_IN, "unconfirmed"), (http(b"", "Location: https://login.example/", status="302 Found"), "rejected")],
    )
    async def test_a_page_to_sign_in(self, answer: bytes, outcome: str, desk: Desk) -> None:
        """A sign-in page with 200, or a redirect to one, stops nothing and is not followed; a cap ends it early."""
        desk.service.answer = lambda path: answer
        desk.write(HEAD + rows(60))
        run = await desk.stop(*UNPACED, "--max-failures", "3")
        assert (run.code, len(desk.service.calls)) == (3, 3)
        assert desk.outcomes() == {outcome: 3, "not_sent": 57}

    async def test_tls_to_a_plain_port(self, desk: Desk) -> None:
        """A plain server behind https:// is reported as such."""

        async def plain(connection: Connection) -> None:
            await connection.reader.read(1)
            await connection.write(http(status="400 Bad Request"))

        desk.write(HEAD + rows(2))
        async with listening(plain) as server:
            there = Desk(desk.folder, f"https://127.0.0.1:{server.port}", desk.service)
            run = await there.stop("--yes", "--attempts", "1")
        assert run.code == 1
        assert {line["error"] for line in results(desk.folder / "list.csv.results.jsonl")} == {
            "TLS could not be agreed with the server (it does not speak TLS on this port); nothing was sent"
        }

    async def test_plain_to_a_tls_port(self, desk: Desk, tmp_path: Path) -> None:
        """A TLS server behind http:// gets one request, and its bytes are not read as a response."""
        _, context = authority(tmp_path)
        desk.write(HEAD + rows(2))
        async with listening(desk.service, tls=context) as server:
            there = Desk(desk.folder, f"http://127.0.0.1:{server.port}", desk.service)
            assert (await there.stop("--yes", "--attempts", "1")).code == 1
        assert desk.outcomes() == {"connection_error": 2}
        assert desk.service.calls == []

    async def test_an_authority_nobody_knows(self, desk: Desk, tmp_path: Path) -> None:
        """An untrusted certificate ends the run at once, with the option to give; with that the run succeeds."""
        ca, context = authority(tmp_path)
        desk.write(HEAD + rows(12))
        async with listening(desk.service, tls=context) as server:
            there = Desk(desk.folder, f"https://127.0.0.1:{server.port}", desk.service)
            run = await there.stop("--yes")
            assert run.code == 3
            assert re.search(r"\n  ended +the server's certificate .* \(give --ca FILE\); nothing was sent\n", run.err)
            errors = [line["error"] for line in results(desk.folder / "list.csv.results.jsonl")]
            assert sum("(give --ca FILE" in error for error in errors) == 1
            assert desk.service.calls == []
            assert (await there.stop("--yes", "--resume", "--ca", str(ca))).code == 0
            assert len(desk.service.calls) == 12


@contextmanager
def terminal(folder: Path, host: str, *more: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run the command on its own terminal until it asks; return the process and our end of the terminal."""
    ours, theirs = pty.openpty()
    words = [*COMMAND, "stop", "list.csv", "--host", host, *more]
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(theirs), *words],
        cwd=folder,
        env=environment(TERM="xterm", XDG_STATE_HOME=str(folder / "state")),
        start_new_session=True,
    )
    said = b""
    try:
        while b"type that number" not in said:
            said += os.read(ours, 65536)
        os.close(theirs)
        yield process, ours
    finally:
        process.kill()
        process.wait(WAIT_S)


def ends(process: "subprocess.Popen[bytes]", ours: int, typed: bytes) -> tuple[int, str]:
    """Type a text and wait for the end; return the exit code and the output."""
    os.write(ours, typed)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:
            data = b""
        if not data:
            os.close(ours)
            return process.wait(WAIT_S), shown.decode(errors="replace")
        shown += data


class TestTerminal:
    """A person at a terminal must type the number that is shown."""

    async def test_anything_else(self, desk: Desk) -> None:
        """Any other word, nothing, or Ctrl-D is exit 2, Ctrl-C is 130, and nothing is sent."""
        words = (b"yes\n", b"\n", b"2\n", b"30\n", b"3.0\n", b"\x04", b"\xff3\n", b"\x03")

        def check(number: int, typed: bytes) -> None:
            place = desk.place(str(number))
            place.write(HEAD + rows(3))
            with terminal(place.folder, desk.host) as (process, ours):
                code, shown = ends(process, ours, typed)
            assert code == (130 if typed == b"\x03" else 2), typed
            assert "not confirmed: 3 was not typed; nothing was sent" in shown or code == 130
            checked(Ended(code, shown, ""))
            assert not (place.folder / "list.csv.results.jsonl").exists()

        await asyncio.gather(*(asyncio.to_thread(check, *word) for word in enumerate(words)))
        assert desk.service.calls == []

    async def test_the_number(self, desk: Desk) -> None:
        """The number of campaigns to send, without other rows of the list, starts the run."""
        desk.write(HEAD + rows(3) + rows(1) + ",voice,a,st-1\n")
        with terminal(desk.folder, desk.host) as (process, ours):
            code, shown = await asyncio.to_thread(ends, process, ours, b"3\n")
        assert (code, len(desk.service.calls)) == (1, 3), shown

    async def test_closed(self, desk: Desk) -> None:
        """If the terminal is closed instead of an answer, the run ends and sends nothing."""
        desk.write(HEAD + rows(3))
        with terminal(desk.folder, desk.host) as (process, ours):
            os.close(ours)
            assert await asyncio.to_thread(process.wait, WAIT_S) == -signal.SIGHUP
        assert desk.service.calls == []
        assert not (desk.folder / "list.csv.results.jsonl").exists()

    async def test_the_list_changes_while_it_is_looked_at(self, desk: Desk) -> None:
        """The run sends what the plan has shown, even if the file changes before the answer."""
        desk.write(HEAD + rows(3))
        with terminal(desk.folder, desk.host) as (process, ours):
            desk.write(HEAD + rows(9, "cd-other-"))
            code, shown = await asyncio.to_thread(ends, process, ours, b"3\n")
        assert code == 0, shown
        assert len(desk.service.calls) == 3
        assert not any("other" in path for path in desk.service.calls)
