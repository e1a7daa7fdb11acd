"""Plants a secret in every possible place, then searches every byte that the command has written for it.

The server repeats what it was sent: unchanged, percent-encoded, in base64, with JSON's escapes; in bodies, headers,
redirects and in bytes that are not HTTP. Only the standard output of `token --print` may contain a token.
"""

import asyncio
import base64
import contextlib
import json
import re
import signal
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.processes import COMMAND, ROOT, WAIT_S, Ended, environment, started
from tests.servers import Connection, Listener, http, listening

pytestmark = pytest.mark.real

OPAQUE = 'Zk3+planted/Qw7=Tx9~Vb2&"Rn5\\Lm8'
"""A token with all kinds of characters, so that each encoding of it is another text."""
JWT = jwt.encode({"sub": "u1", "appId": "cs-1", "planted": "Hq4Zk3Qw7Tx9"}, "k" * 64, "HS256")
SECRET = 'planted+Client/Secret of "more" than 32 characters'
PASSWORD = "planted:Pass/word@77"
PIECE_CHARS = 12
"""Characters of an opaque secret that are a leak, from any part of it."""


def disguises(secret: str) -> set[str]:
    """Return a secret in all encodings that are searched for."""
    percent = quote(secret, safe="")
    escaped = json.dumps(secret)[1:-1]
    plain = {secret, percent, quote(secret), re.sub("%..", lambda found: found[0].lower(), percent)}
    return plain | {escaped, escaped.replace("/", "\\/"), repr(secret)[1:-1], *encoded(secret)}


def encoded(secret: str) -> set[str]:
    """Return the part of a secret's base64 that does not depend on its surroundings."""
    found = set()
    for before, skipped in ((b"", 0), (b"\0", 2), (b"\0\0", 3)):
        data = before + secret.encode()
        for text in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
            found.add(text.decode()[skipped : 8 * len(data) // 6])
    return found


def pieces(secret: str) -> set[str]:
    """Return all parts of a secret that are long enough for a leak."""
    return {secret[at : at + PIECE_CHARS] for at in range(len(secret) - PIECE_CHARS + 1)}


def test_the_forms_are_found() -> None:
    """The search finds a secret in each kind of text, which makes its other results meaningful."""
    for text in (
        OPAQUE,
        f"https://h/?auth={quote(OPAQUE, safe='')}",
        json.dumps({"auth": OPAQUE}),
        repr({"auth": OPAQUE}),
        *(base64.b64encode(f"{'x' * shift}{OPAQUE}yz".encode()).decode() for shift in range(3)),
    ):
        assert leaked([OPAQUE], text.encode()), text
    assert leaked([OPAQUE], OPAQUE[5:18].encode())
    assert not leaked([OPAQUE], b"[masked]")


def leaked(secrets: Iterable[str], data: bytes) -> list[str]:
    """Return the encodings and pieces of these secrets in some bytes."""
    sought = {form for secret in secrets for form in disguises(secret)}
    sought |= {piece for secret in secrets if not is_jwt(secret) for piece in pieces(secret)}
    of_jwts = [
        part for secret in secrets if is_jwt(secret) for part in secret.split(".")[1:]
    ]  # its payload, its signature
    sought |= {end for part in of_jwts for end in (part, part[:PIECE_CHARS], part[-PIECE_CHARS:])}
    return sorted(form for form in sought if form.encode() in data)


def is_jwt(secret: str) -> bool:
    """Match a JWT, whose first part is the same in all of them."""
    return secret.startswith("eyJ")


def echo(secrets: Iterable[str]) -> str:
    """Return what was sent in every encoding, in a server's words."""
    forms = sorted({form for secret in secrets for form in disguises(secret)})
    return " | ".join(["you sent", *forms])


def parts(token: str) -> str:
    """Return possible damage of a token: cut off, broken, and for a JWT its parts alone."""
    cut = [token[:20], token[-20:], f"{token[:16]} {token[16:]}", f"{token[:-16]}\r\n\t{token[-16:]}"]
    return " | ".join(["you sent", *cut, *(token.split(".")[1:] if is_jwt(token) else ())])


def escaped(text: str) -> bytes:
    """Write a JSON text with an escape for each character."""
    return "".join(f"\\u{ord(char):04x}" for char in text).encode()


@dataclass
class Hostile:
    """A server that repeats all secrets it is sent; the campaign's id selects how."""

    elsewhere: str = "http://127.0.0.1:1"
    sent: set[str] = field(default_factory=set)
    throttled: bool = False

    async def __call__(self, connection: Connection) -> None:
        """Answer the calls of a connection."""
        while (request := await connection.request()) is not None:
            head = request.partition(b"\r\n\r\n")[0].decode()
            now = [line.partition(": ")[2] for line in head.split("\r\n") if re.match("(?i)(proxy-)?auth", line)]
            now += [base64.b64decode(word[6:]).decode() for word in now if word.startswith("Basic ")]
            now += [word.partition(":")[2] for word in now if word.startswith("user:")]
            self.sent.update(now)
            await connection.write(self.answer(head.split(" ", 2)[1], now))

    def answer(self, target: str, now: list[str]) -> bytes:
        """Answer one call."""
        said, token = echo(now), now[0]
        if "getAllCampaignDetails" in target:
            return http(page(said, token))
        kind = re.search(r"cd-(\w+)", target)
        if kind is None:  # a CONNECT to a proxy
            return http(said.encode(), status="403 Forbidden")
        if kind[1] == "throttled" and not self.throttled:
            self.throttled = True
            limit = {"errors": [{"msg": f"rate limit exceeded {said}", "retryAfterMs": 1}]}
            return http(json.dumps(limit).encode(), f"Retry-After: {token}", status="429 Too Many")
        return self.answers(said, token).get(kind[1], http(stopped(said, token)))

    def answers(self, said: str, token: str) -> dict[str, bytes]:
        """Return a response for each kind of campaign."""
        there = f"{self.elsewhere}/?auth={token}&{quote(token, safe='')}"
        return {
            "escaped": http(b'{"status":"Stopped","message":"' + escaped(said) + b'"}'),
            "slashed": http(json.dumps({"status": "Stopped", "message": token}).replace("/", "\\/").encode()),
            "cut": http(stopped("x" * 290 + token, "y" * 290 + token)),
            "parts": http(stopped(parts(token), token[-20:])),
            "torn": http(parts(token).encode(), status="404 Not Found"),
            "unsure": http(said.encode()),
            "rejected": http(
                json.dumps({"errors": [{"msg": said, "code": token}], "message": token}).encode(),
                f"Set-Cookie: auth={token}",
                status=f"400 {token}",
            ),
            "refused": http(said.encode(), f"WWW-Authenticate: {token}", status="401 Unauthorized"),
            "absent": http(f"<html>{said}</html>".encode(), status="404 Not Found"),
            "broken": http(f"<html>{said}</html>".encode(), status="500 Internal"),
            "moved": http(said.encode(), f"Location: {there}", status="307 Temporary Redirect"),
            "odd": f"HTTP/1.1 {token} {token}\r\n\r\n".encode(),
            "odder": f"HTTP/1.1 200 OK\r\n{token}\x01{token}\r\n\r\n".encode(),
            "long": http(b"z" * (65536 - 10) + said.encode()),
        }


def stopped(message: str, word: str) -> bytes:
    """Return the response to a stop, with other words."""
    said = {"status": "Stopped", "message": message, "updatedAt": word, "campaignInstanceId": word}
    return json.dumps(said | {"campaignExecutionType": message}).encode()


def page(said: str, token: str) -> bytes:
    """Return a page of the list call, with a usable row and some unusable ones."""
    rows = [
        {"_id": "cd-1", "id": "cd-1", "name": said, "status": "Active", "updatedAt": token, "priority": token},
        {"_id": "cd-2", "id": "cd-2", "name": token, "status": token},
        {"name": said, "status": "Active"},
        {"_id": f"{token}\n", "id": f"{token}\n", "name": token},
        token,
    ]
    data = {"results": rows, "hasMore": False, "totalResults": len(rows), "message": said}
    return json.dumps({"status": "success", "message": said, "data": data}).encode()


KINDS = (*Hostile().answers("", ""), "throttled", "good")


@dataclass
class Stage:
    """A folder to run in, the planted secrets, and all output so far."""

    folder: Path
    given: dict[str, str | None]
    secrets: list[str]
    said: bytes = b""

    @property
    def work(self) -> Path:
        """The folder in which commands run."""
        return self.folder / "work"

    async def run(self, *args: str, **more: str | None) -> Ended:
        """Run the command until it ends and keep its output."""
        process = await self.start(*COMMAND, *args, **more)
        out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
        self.said += out + err
        return Ended(process.returncode or 0, out.decode(), err.decode())

    async def start(self, *words: str, **more: str | None) -> asyncio.subprocess.Process:
        """Start a command with these arguments."""
        (self.folder / "tmp").mkdir(exist_ok=True)
        own = {"XDG_STATE_HOME": str(self.folder / "state"), "TMPDIR": str(self.folder / "tmp")}
        own["BULKSTOP_QUOTA"] = "5000/60s"
        return await asyncio.create_subprocess_exec(
            *words,
            cwd=self.work,
            env=environment(**({"BULKSTOP_TOKEN": None} | self.given | own | more)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    def written(self) -> dict[Path, bytes]:
        """Return every file that was written, except those with planted secrets."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and "planted" not in path.parts]
        return {path.relative_to(self.folder): path.read_bytes() for path in files}

    def check(self, sent: Iterable[str] = ()) -> None:
        """Check that no output contains a secret, and that no other user may read the written files."""
        secrets = [*self.secrets, *sent]
        assert leaked(secrets, self.said) == []
        assert {path: found for path, data in self.written().items() if (found := leaked(secrets, data))} == {}
        assert b"Traceback" not in self.said
        modes = {path: stat.S_IMODE((self.folder / path).stat().st_mode) for path in self.written()}
        own = {path: oct(mode) for path, mode in modes.items() if path.name != "campaigns.csv" and mode & 0o077}
        assert own == {}


def key() -> str:
    """Create an RSA key."""
    made = rsa.generate_private_key(65537, 2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.private_bytes(*form).decode()


def plant(way: str, folder: Path) -> tuple[dict[str, str | None], list[str]]:
    """Return one kind of credentials; the variables, and the secrets in them."""
    planted = folder / "planted"
    planted.mkdir()
    file = str(planted / "secret")
    app: dict[str, str | None] = {"BULKSTOP_CLIENT_ID": "cs-1"}

    def kept(secret: str) -> str:
        Path(file).write_text(f"{secret}\n")
        return secret

    if way == "token":
        return {"BULKSTOP_TOKEN": OPAQUE}, [OPAQUE]
    if way == "jwt":
        return {"BULKSTOP_TOKEN": JWT}, [JWT]
    if way == "token file":
        return {"BULKSTOP_TOKEN_FILE": file}, [kept(OPAQUE)]
    if way == "token command":
        return {"BULKSTOP_TOKEN_COMMAND": f"cat {file}"}, [kept(OPAQUE)]
    if way == "client secret":
        return app | {"BULKSTOP_CLIENT_SECRET": SECRET}, [SECRET]
    if way == "single use":
        return app | {"BULKSTOP_CLIENT_SECRET_FILE": file, "BULKSTOP_JTI": "1"}, [kept(SECRET)]
    assert way == "key"
    secret = kept(key())
    lines = [line for line in secret.splitlines() if len(line) > 20]
    return app | {"BULKSTOP_CLIENT_SECRET_FILE": file, "BULKSTOP_JWT_ALG": "RS256"}, lines


WAYS = ("token", "jwt", "token file", "token command", "client secret", "single use", "key")
STOP = ("stop", "campaigns.csv", "--yes", "--overwrite", "--attempts", "2", "--log-level", "debug")
OUTAGE = (*STOP, "--host", "http://127.0.0.1:1", "--max-outage", "100ms")
LIST = ("--account-id", "a", "--stream-id", "st-1", "--status", "Active,Stopped")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Create a folder with a list of campaigns of every kind."""
    (tmp_path / "work").mkdir()
    rows = "".join(f"cd-{kind}-{number},voice,a,st-1\n" for number in range(2) for kind in KINDS)
    (tmp_path / "work" / "campaigns.csv").write_text(f"campaign_id,campaign_type,account_id,stream_id\n{rows}")
    return Stage(tmp_path, {}, [])


@asynccontextmanager
async def hostile() -> AsyncIterator[tuple[Hostile, Listener, Listener]]:
    """Run the hostile server, and the target of its redirects."""
    server = Hostile()
    async with listening(server) as here, listening(server) as there:
        server.elsewhere = there.url
        yield server, here, there


@pytest.mark.parametrize(
    "way", [each if each == "token" else pytest.param(each, marks=pytest.mark.full) for each in WAYS]
)
async def test_what_a_server_repeats(way: str, stage: Stage) -> None:
    """Whatever a server does with the token, no run shows or writes a secret, not even at debug level."""
    stage.given, stage.secrets = plant(way, stage.folder)
    async with hostile() as (server, here, there):
        stop = stage.run(*STOP, "--host", here.url)
        machine = stage.run(*STOP, "--host", here.url, "--log-json", "-o", "other.csv")
        ends = await asyncio.gather(stop, machine)
        # 3 if five refusals in a row close the group before a success, which depends on the order of the responses.
        assert {end.code for end in ends} <= {1, 3}, ends
        assert there.connections == 0
    assert ends[0].code == 3 or ends[0].err.count(" DEBUG ") >= len(KINDS) * 2
    for name in ("campaigns.csv.results.jsonl", "other.csv"):
        text = (stage.work / name).read_text()
        assert len(text.splitlines()) >= len(KINDS) * 2
        assert "[masked]" in text
    stage.check(server.sent)


@pytest.mark.parametrize("way", ["token", pytest.param("single use", marks=pytest.mark.full)])
async def test_what_other_commands_show(way: str, stage: Stage) -> None:
    """No other command shows or writes a secret either."""
    stage.given, stage.secrets = plant(way, stage.folder)
    async with hostile() as (server, here, _):
        host = ("--host", here.url)
        jobs = [
            stage.run(*STOP, *host, "-o", "-"),
            stage.run("stop", "campaigns.csv", *host, "--dry-run", "--json"),
            stage.run("discover", *host, *LIST),
            stage.run("discover", *host, *LIST, "-o", "found.jsonl"),
            stage.run("token"),
        ]
        ends = await asyncio.gather(*jobs)
        assert ends[0].code in (1, 3), ends  # 3 if the order of the responses closes the group
        assert [end.code for end in ends[1:]] == [0, 0, 0, 0], ends
        (stage.work / "out.jsonl").write_text(ends[0].out)
        (stage.work / "out.jsonl").chmod(0o600)
        read_back = (
            stage.run("verify", "out.jsonl", *host, "--attempts", "1"),
            stage.run("verify", "out.jsonl", *host, "--attempts", "1", "--json", "-o", "a.csv"),
        )
        later = await asyncio.gather(stage.run("report", "out.jsonl"), *read_back)
        assert later[0].code == 0, later
        # For most campaigns it reports nothing; whether it is called for the others depends on the order of the lines.
        assert {end.code for end in later[1:]} <= {1, 3}, later
    assert "[masked]" in (stage.work / "found.jsonl").read_text()
    stage.check(server.sent)


CRASHES = """
import gc, logging, os, threading, warnings
import asyncio
from bulkstop.kore import aiohttp_transport, token

async def fail(said):
    raise RuntimeError(said)

class Odd:
    def __init__(self, said):
        self.said = said
    def __del__(self):
        raise RuntimeError(self.said)

async def post(self, target, headers, *_):
    said = f"{headers} {os.environ['PLANTED']}"
    asyncio.get_running_loop().call_exception_handler({"message": said, "exception": RuntimeError(said)})
    asyncio.ensure_future(fail(said))
    await asyncio.sleep(0)
    Odd(said)
    gc.collect()
    thread = threading.Thread(target=asyncio.run, args=(fail(said),), name=said)
    thread.start()
    thread.join()
    warnings.warn(said, UserWarning)
    logging.getLogger("aiohttp.client").error("%s", said)
    logging.getLogger("bulkstop.kore").debug("%s", said)
    raise RuntimeError(said)

async def mint(self):
    said = os.environ["PLANTED"]
    Odd(said)
    raise RuntimeError(said)

if os.environ["WHERE"] == "mint":
    token.Tokens._mint = mint
else:
    aiohttp_transport.AiohttpTransport.post = post
"""
"""A plug-in that makes calls, or the making of tokens, fail in every way, with secrets in all messages."""


@pytest.mark.full
@pytest.mark.parametrize(("way", "where"), [("token", "post"), ("token command", "post"), ("client secret", "mint")])
async def test_crash(way: str, where: str, stage: Stage) -> None:
    """An error in the program itself, in a thread, a warning or a library's log shows no secret and no traceback."""
    stage.given, stage.secrets = plant(way, stage.folder)
    (stage.folder / "planted" / "sitecustomize.py").write_text(CRASHES)
    path = f"{stage.folder / 'planted'}:{ROOT}"
    stage.given |= {"PYTHONPATH": path, "PLANTED": stage.secrets[0], "WHERE": where, "PYTHONWARNINGS": "always"}
    host = ("--host", "127.0.0.1:1")
    jobs = [
        stage.run(*STOP, *host, PYTHONDEVMODE="1"),
        stage.run(*STOP, *host, "--log-json", "-o", "other.csv"),
        stage.run("discover", *host, *LIST),
        *([stage.run("token")] if where == "mint" else []),
    ]
    ends = await asyncio.gather(*jobs)
    assert {end.code for end in ends} == {3}, ends
    for end in ends:
        assert "RuntimeError" in end.err
    stage.check()


@pytest.mark.full
async def test_a_proxy_that_repeats_its_password(stage: Stage) -> None:
    """A proxy's password is in no result, even when the proxy itself answers and repeats it."""
    async with hostile() as (server, here, _):
        there = f"http://user:{quote(PASSWORD, safe='')}@127.0.0.1:{here.port}"
        stage.given = {"BULKSTOP_TOKEN": OPAQUE, "BULKSTOP_PROXY": there}
        stage.secrets = [OPAQUE, PASSWORD, f"user:{PASSWORD}"]
        jobs = [
            stage.run(*STOP, "--host", "http://127.0.0.1:1"),
            stage.run(*STOP, "--host", "http://127.0.0.1:1", "-o", "other.csv", "--log-json"),
            stage.run(*STOP, "--host", "https://127.0.0.1:1", "-o", "third.csv", "--max-outage", "100ms"),
            stage.run("discover", "--host", "http://127.0.0.1:1", *LIST, "-o", "found.csv"),
        ]
        ends = await asyncio.gather(*jobs)
    codes = [end.code for end in ends]
    assert set(codes[:2]) <= {1, 3}, ends  # the order of the responses may end the group
    assert codes[2:] == [3, 0], ends
    assert PASSWORD in server.sent
    stage.check()


@pytest.mark.full
async def test_a_store_that_repeats_its_password(stage: Stage) -> None:
    """A Redis password is never shown, whatever the store replies, and whether it is reachable."""
    said = list[bytes]()

    async def refuse(connection: Connection) -> None:
        while data := await connection.reader.read(65536):
            said.append(data)
            words = data.replace(b"\r\n", b" ").decode()
            await connection.write(f"-WRONGPASS {words}\r\n".encode() * data.count(b"*"))

    stage.secrets = [PASSWORD]
    async with listening(refuse) as here:
        for port in (here.port, 1):
            store = f"redis://user:{quote(PASSWORD, safe='')}@127.0.0.1:{port}"
            stage.given = {"BULKSTOP_TOKEN": OPAQUE, "BULKSTOP_QUOTA_STORE": store}
            jobs = [
                stage.run(*STOP, "--host", "127.0.0.1:1"),
                stage.run(*STOP, "--host", "127.0.0.1:1", "--log-json", "-o", "other.csv"),
                stage.run("discover", "--host", "127.0.0.1:1", *LIST),
            ]
            for end in await asyncio.gather(*jobs):
                assert end.code in (2, 3), end
                assert "quota-store" in end.err
    assert any(PASSWORD.encode() in data for data in said)
    stage.check()


async def test_who_looks_at_processes(stage: Stage) -> None:
    """A token is on no command line, and not in the environment of the token command."""
    stage.given, stage.secrets = plant("token command", stage.folder)
    look = "cat /proc/self/environ /proc/self/cmdline /proc/$PPID/cmdline >seen; cat "
    stage.given["BULKSTOP_TOKEN_COMMAND"] = f"umask 077; {look} {stage.folder}/planted/secret"
    async with hostile() as (_, here, _):
        end = await stage.run(*STOP, "--host", here.url)
    assert end.code in (1, 3)  # 3 if the order of the responses closes the group
    seen = (stage.work / "seen").read_bytes()
    assert b"bulkstop\0stop\0campaigns.csv" in seen
    assert b"XDG_STATE_HOME" in seen
    stage.check()


PLANTED_JWT = jwt.encode({"sub": "u1", "appId": "cs-1", "planted": "Jd8Mw3Kp5Yc1"}, "k" * 64, "HS256")
PLANTED = {
    "proxy": "Gv6-planted-proxy/Hn2Bt9",
    "redis": "Ws4-planted-redis/Lk7Pq3",
    "client": "Xe5-planted-client/Ru8Fz2",
}
"""Secrets that no other test has, because all processes of this machine are searched for them."""


@dataclass
class Holding(Hostile):
    """A hostile server that answers only once it is released."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, connection: Connection) -> None:
        """Answer the calls of a connection, later."""
        self.asked.set()
        await self.may_answer.wait()
        await super().__call__(connection)


def processes() -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield every process with what other users can read of it."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(folder.name), {name: (folder / name).read_bytes() for name in ("cmdline", "environ", "limits")}


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes where Linux has them")
@pytest.mark.parametrize("way", ["token command", "client secret"])
async def test_planted_secrets(way: str, stage: Stage) -> None:
    """All secrets at once are in no file, log, core or command line, and in no child that does not need them."""
    planted = stage.folder / "planted"
    planted.mkdir()
    (planted / "token").write_text(PLANTED_JWT)
    (planted / "token").chmod(0o600)
    stage.secrets = [PLANTED_JWT, *PLANTED.values()]
    server = Holding()
    async with listening(server) as here:
        look = "umask 077; cat /proc/self/environ /proc/self/cmdline >>seen; ulimit -c >>limits"
        stage.given = {
            "BULKSTOP_TOKEN": None,
            "BULKSTOP_PROXY": f"http://user@127.0.0.1:{here.port}",
            "BULKSTOP_PROXY_PASSWORD": PLANTED["proxy"],
            "BULKSTOP_QUOTA_STORE": f"redis://:{quote(PLANTED['redis'], safe='')}@127.0.0.1:1",
            "MARK": str(stage.folder),
        }
        if way == "token command":
            stage.given["BULKSTOP_TOKEN_COMMAND"] = f"{look}; cat {planted}/token"
        else:
            stage.given |= {"BULKSTOP_CLIENT_ID": "cs-1", "BULKSTOP_CLIENT_SECRET": PLANTED["client"]}
        words = (*STOP, "--host", "http://127.0.0.1:1", "--quota-store", "memory")
        shell = ("sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh")
        run = await stage.start(*shell, *COMMAND, *words)
        await asyncio.wait_for(server.asked.wait(), WAIT_S)
        watched = 0
        for pid, seen in processes():
            is_watchdog = b"watchdog_process.py" in seen["cmdline"] and b"\0%d\0" % run.pid in seen["cmdline"]
            is_child = str(stage.folder).encode() in seen["environ"] and pid != run.pid
            watched += is_watchdog
            assert leaked(stage.secrets, seen["cmdline"]) == []
            if is_watchdog or is_child:
                assert leaked(stage.secrets, seen["environ"]) == []
            if is_watchdog or is_child or pid == run.pid:
                assert re.search(rb"Max core file size +0 ", seen["limits"])
        assert watched == 1
        run.send_signal(signal.SIGQUIT)
        stage.said += b"".join(await asyncio.wait_for(run.communicate(), WAIT_S))
        assert run.returncode == -signal.SIGQUIT
        assert list(stage.work.glob("core*")) == []
        server.may_answer.set()
        ends = await asyncio.gather(stage.run(*words), stage.run(*words, "--log-json", "-o", "other.csv"))
    assert {end.code for end in ends} <= {1, 3}, ends
    assert PLANTED["proxy"] in server.sent
    if way == "token command":
        assert b"XDG_STATE_HOME" in (stage.work / "seen").read_bytes()
        assert set((stage.work / "limits").read_text().split()) == {"0"}
    stage.check(word for word in server.sent if not word.startswith(("Basic ", "user:")))


@pytest.mark.full
async def test_password_from_a_file(stage: Stage) -> None:
    """A proxy's password from a file reaches only the proxy, with either transport."""
    stage.secrets = [PLANTED["proxy"]]
    planted = stage.folder / "planted"
    planted.mkdir()
    (planted / "password").write_text(PLANTED["proxy"] + "\n")
    (planted / "password").chmod(0o600)
    stage.given = {"BULKSTOP_TOKEN": OPAQUE}
    async with listening(wire := Hostile()) as one, listening(aiohttp := Hostile()) as other:
        jobs = [
            stage.run(
                *STOP,
                *("--host", "http://127.0.0.1:1", "--transport", transport, "-o", f"{transport}.jsonl"),
                *("--proxy", f"http://user@127.0.0.1:{proxy.port}", "--proxy-password-file", f"{planted}/password"),
            )
            for transport, proxy in (("wire", one), ("aiohttp", other))
        ]
        for end in await asyncio.gather(*jobs):
            assert end.code in (1, 3), end
            assert "warning: --proxy" not in end.err
    assert PLANTED["proxy"] in wire.sent & aiohttp.sent
    stage.check()


@pytest.mark.full
@pytest.mark.parametrize("more", [(), ("--log-json",)])
async def test_typed_password(more: tuple[str, ...], stage: Stage) -> None:
    """A password on the command line causes a warning of one line without it, and is in no record of the run."""
    stage.secrets = [PASSWORD]
    proxy = f"http://user:{quote(PASSWORD, safe='')}@127.0.0.1:1"
    end = await stage.run(*OUTAGE, "--proxy", proxy, *more, BULKSTOP_TOKEN=OPAQUE)
    lines = [line for line in end.err.splitlines() if "everybody on this machine can read the password" in line]
    assert len(lines) == 1
    assert "BULKSTOP_PROXY_PASSWORD" in lines[0]
    assert "--proxy-password-file" in lines[0]
    assert all(line.startswith("{") for line in end.err.splitlines()) == bool(more)
    stage.check()


async def test_open_umask_and_no_home(stage: Stage) -> None:
    """With umask 000 and without a home directory, others cannot write any created file, and none is in the root."""
    stage.given = {"BULKSTOP_TOKEN": OPAQUE, "HOME": "", "XDG_STATE_HOME": None}
    state = stage.folder / "a" / "b" / "state"
    shell = ("sh", "-c", 'umask 000; exec "$@"', "sh")
    words = (*COMMAND, *OUTAGE)
    run = await stage.start(*shell, *words, "--quota-store", str(state / "calls.sqlite"), XDG_STATE_HOME=str(state))
    await asyncio.wait_for(run.communicate(), WAIT_S)
    made = [state, *state.parents[:2], *state.rglob("*"), *stage.work.glob("*.results.*")]
    assert len(made) > 5
    assert [path for path in made if path.stat().st_mode & 0o077] == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("cat {file}; cat {file} >&2; exit 1", OPAQUE),
        ("echo Bearer $(cat {file})", OPAQUE),
        ("cat {file}; echo; cat {file}", OPAQUE),
        ("(cat {file}; printf '\\303') ", OPAQUE),
        ("printf '%s\\033[2J' $(cat {file}) >&2; exit 1", OPAQUE),
        ("printf 'sed: bad %s' $(base64 -w0 {file}) >&2; exit 1", OPAQUE),
        (None, f"Bearer {OPAQUE}"),
        (None, f"{OPAQUE}\n{OPAQUE}"),
        (None, f"{OPAQUE}\u00e9"),
    ],
)
async def test_credentials_that_are_none(command: str | None, file: str, stage: Stage) -> None:
    """Messages about an unusable token do not contain it."""
    (stage.folder / "planted").mkdir()
    planted = stage.folder / "planted" / "secret"
    planted.write_text(file)
    stage.secrets = [OPAQUE]
    words = ("--token-command", command.format(file=planted)) if command else ("--token-file", str(planted))
    jobs = [stage.run(*more, *words) for more in (("token",), (*STOP, "--host", "127.0.0.1:1"))]
    for end in await asyncio.gather(*jobs):
        assert end.code == 2, end
        assert "token " in end.err
    stage.check()


@pytest.mark.full
@pytest.mark.parametrize("alg", ["RS256", "HS256"])
async def test_a_secret_of_another_kind(alg: str, stage: Stage) -> None:
    """A message about a secret that does not fit its algorithm does not contain it."""
    stage.given, stage.secrets = plant("key" if alg == "HS256" else "client secret", stage.folder)
    stage.given["BULKSTOP_JWT_ALG"] = alg
    end = await stage.run("stop", "campaigns.csv", "--yes", "--host", "127.0.0.1:1", "--log-level", "debug")
    assert (end.code, "no token can be signed" in end.err) == (2, True), end
    stage.check()


@pytest.mark.full
@pytest.mark.parametrize(
    "words",
    [
        ("--token", OPAQUE),
        (f"--token={OPAQUE}",),
        ("--client-secret", OPAQUE),
        ("--proxy", f"user:{OPAQUE}@h"),
        ("--proxy", f"ftp://user:{OPAQUE}@h"),
        ("--quota-store", f"rediss:/user:{OPAQUE}@h"),
        ("--quota-store", f"http://user:{OPAQUE}@h"),
        ("--config", "planted.toml"),
    ],
)
async def test_what_was_typed_in_the_wrong_place(words: tuple[str, ...], stage: Stage) -> None:
    """A secret in the wrong place is refused and not repeated."""
    stage.secrets = [OPAQUE]
    stage.given = {"BULKSTOP_TOKEN": "another-token-of-some-length"}
    (stage.folder / "planted").mkdir()
    config = stage.folder / "planted" / "planted.toml"
    config.write_text(f"[profile.default]\ntoken = {json.dumps(OPAQUE)}\n")
    given = [str(config) if word == config.name else word for word in words]
    end = await stage.run("stop", "campaigns.csv", "--yes", "--host", "127.0.0.1:1", *given)
    assert end.code == 2, end
    stage.check()


async def test_simulator(stage: Stage) -> None:
    """The simulator logs no token and no secret, whatever it receives."""
    stage.given, stage.secrets = plant("client secret", stage.folder)
    log = stage.work / "requests.jsonl"
    log.touch(mode=0o600)
    wrong = jwt.encode({"sub": "u", "appId": "cs-1"}, "w" * 40, "HS256")
    garbage = [
        f"POST / HTTP/1.1\r\nHost: h\r\nauth: {wrong}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}",
        f"{OPAQUE} {OPAQUE}\r\n\r\n",
        f"POST / HTTP/1.1\r\nauth: {OPAQUE}\x01\r\n\r\n",
        f"POST / HTTP/1.1\r\nContent-Length: {OPAQUE}\r\n\r\n",
    ]
    process = started("simulate", "--log", str(log), cwd=stage.work, **stage.given)
    assert process.stdout is not None
    url = (await asyncio.to_thread(process.stdout.readline)).strip()
    for text in garbage:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(text.encode())
        assert b" 4" in await reader.readline()
        writer.close()
    assert (await stage.run("stop", "campaigns.csv", "--yes", "--host", url)).code == 0
    process.terminate()
    out, err = await asyncio.to_thread(process.communicate)
    stage.said += (out + err).encode()
    assert "a request cannot be read" in err
    stage.check([wrong, OPAQUE])
