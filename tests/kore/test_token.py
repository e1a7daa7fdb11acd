"""Tokens from every source, renewed once and in time, and never shown."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import subprocess
import sys
import traceback
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import jwt
import pytest
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.errors import CredentialsError
from bulkstop.kore.token import (
    ALGORITHMS,
    TOKEN_BYTES,
    Algorithm,
    Token,
    Tokens,
    TokenSource,
    command_source,
    file_source,
    read_claims,
    signing_source,
    static_source,
)

SHORT_SECRET = "q7Zr-short"  # below what PyJWT likes for any algorithm
LONG_SECRET = "k3Yd" * 16  # 64 characters: enough for HS512 without a warning when it is verified
HMAC: tuple[Algorithm, Algorithm] = ("HS256", "HS512")
RSA: tuple[Algorithm, Algorithm] = ("RS256", "RS512")
START = 1_700_000_000.0
LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uv"])


class Clock:
    """A clock that advances only on request."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        """Tell the time."""
        return self.time


class FakeSource:
    """Returns prepared tokens, counts its calls, and can be blocked."""

    def __init__(self, *answers: str | CredentialsError) -> None:
        self.answers = list(answers)
        self.calls = 0
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> str:
        """Return the next answer, the last one for ever."""
        self.calls += 1
        self.asked.set()
        await self.go.wait()
        await asyncio.sleep(0)  # a real source lets others run, too
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CredentialsError):
            raise answer
        return answer


def segment(value: object) -> str:
    """Make one part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def a_jwt(exp: object = None, **more: object) -> str:
    """Return an unsigned JWT."""
    payload = {"sub": "u", "appId": "cs-1", **more} | ({} if exp is None else {"exp": exp})
    return f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(payload)}.{segment('signature')}"


def decoded(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read header and payload by other means than the package."""
    header, payload = (
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in token.split(".")[:2]
    )
    return header, payload


def text_of(error: BaseException) -> str:
    """All an exception tells anyone, with everything it is chained to."""
    texts = traceback.format_exception(error)
    chain: BaseException | None = error
    while chain is not None:
        texts += [str(chain), repr(chain), repr(chain.args), repr(vars(chain))]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(texts)


async def failure(mint: TokenSource) -> CredentialsError:
    """Return the one-line error a source ends with."""
    with pytest.raises(CredentialsError) as caught:
        await mint()
    assert "\n" not in str(caught.value)
    return caught.value


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> str:
    """Write a private key as the text an operator has."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    """Make one real key for all tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def clock() -> Clock:
    """Provide each test with a time of its own."""
    return Clock()


class TestClaims:
    """The unverified payload of a token."""

    def test_of_a_jwt(self) -> None:
        """The payload of a JWT is returned unchanged, for any length modulo four."""
        for sub in ("", "a", "ab", "abc", "\u00fc\U0001f600"):
            token = jwt.encode({"sub": sub, "exp": 5, "jti": "j"}, LONG_SECRET)
            assert read_claims(token) == {"sub": sub, "exp": 5, "jti": "j"}

    @pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "..", "a.b", "a.b.c.d.e", f"h.{segment([1])}.s"])
    def test_of_anything_else(self, token: str) -> None:
        """A token that is not a JWT has no claims."""
        assert read_claims(token) is None

    @given(st.text())
    def test_never_raises(self, token: str) -> None:
        """No text, however made, makes reading the claims fail."""
        for text in (token, f"a.{token}.c"):
            assert read_claims(text) is None or isinstance(read_claims(text), dict)


class TestReadyMade:
    """A token given as it is."""

    async def test_is_used_as_it_is(self) -> None:
        """A ready-made token loses the white space around it, and nothing else."""
        assert await static_source(" \ufeff abc.def \n".removeprefix(" "))() == "abc.def"

    @pytest.mark.parametrize(
        "token", ["", " \n", "Bearer hidden-word", "hidden-w\u00f6rd", "hidden\nword", "hidden\0word"]
    )
    def test_must_fit_a_header(self, token: str) -> None:
        """A token that fits into no header is refused by the name of its variable, without being shown."""
        with pytest.raises(CredentialsError, match=r"^BULKSTOP_TOKEN is ") as caught:
            static_source(token)
        assert "hidden" not in text_of(caught.value)

    @pytest.mark.real
    def test_imports_no_jwt_library(self) -> None:
        """A run with a ready-made token, its expiry read, does not pay for importing PyJWT."""
        code = (
            "import asyncio, sys\n"
            "from bulkstop.kore.token import Tokens, static_source\n"
            f"token = asyncio.run(Tokens(static_source({a_jwt(4e9)!r}), renewable=False).get())\n"
            "assert token.expires_at == 4e9\n"
            "print([name for name in ('jwt', 'cryptography') if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("[]\n", "")


class TestFromFile:
    """A token kept in a file."""

    async def test_is_read_again(self, tmp_path: Path) -> None:
        """Each time the file is read anew, and white space or a byte order mark around the token is dropped."""
        path = tmp_path / "token"
        mint = file_source(path)
        path.write_bytes(b"\xef\xbb\xbf first\r\n")
        assert await mint() == "first"
        path.write_text("second\n")
        assert await mint() == "second"

    @pytest.mark.parametrize(
        "content", [b"\xef\xbb\xbf t1\r\n", b"\r\nt1\xef\xbb\xbf\n", "\ufefft1\r\n".encode("utf-16-le")]
    )
    async def test_as_it_comes(self, tmp_path: Path, content: bytes) -> None:
        """A byte order mark and line ends around a token are removed, and PowerShell's encoding is read."""
        path = tmp_path / "token"
        path.write_bytes(content)
        assert await file_source(path)() == "t1"

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "is empty"),
            (b" \n\n", "is empty"),
            (b"hidden\nhidden\n", "not one word"),
            (b"\xfeh\0idden", "not one word"),
            (b"hidden" * TOKEN_BYTES, f"more than {TOKEN_BYTES} bytes"),
        ],
    )
    async def test_that_holds_no_token(self, tmp_path: Path, content: bytes, reason: str) -> None:
        """A file that holds anything but one token is named, and its content is not shown."""
        path = tmp_path / "token"
        path.write_bytes(content)
        error = await failure(file_source(path))
        assert reason in str(error)
        assert repr(str(path)) in str(error)
        assert "hidden" not in text_of(error)

    async def test_that_cannot_be_read(self, tmp_path: Path) -> None:
        """A missing file, a folder, a pipe and an impossible name are each one line with the name and the reason."""
        os.mkfifo(tmp_path / "pipe")
        wrong = {
            "gone": "No such file",
            ".": "not a regular file",
            "pipe": "not a regular file",
            "a\0b": "no file of this name",
            "n\nl": "No",
        }
        for name, reason in wrong.items():
            error = await failure(file_source(tmp_path / name))
            assert reason in str(error)
            assert repr(str(tmp_path / name)) in str(error)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    async def test_that_may_not_be_read(self, tmp_path: Path) -> None:
        """A file without read permission is named with that reason."""
        path = tmp_path / "token"
        path.write_text("hidden")
        path.chmod(0)
        assert "Permission denied" in str(await failure(file_source(path)))


class TestFromCommand:
    """A token printed by the operator's command."""

    @pytest.mark.real
    async def test_is_run_by_the_shell_each_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The command line is the shell's, sees the environment, and is run anew for each token."""
        monkeypatch.setenv("VAULT_ADDR", "from-env")
        log = tmp_path / "log"
        mint = command_source(f"echo run >> {log}; echo \"$VAULT_ADDR-$(wc -l < {log} | tr -d ' ')\"")
        assert [await mint(), await mint()] == ["from-env-1", "from-env-2"]

    @pytest.mark.real
    def test_has_no_standard_input(self) -> None:
        """A command that reads its input finds it empty: it cannot take the list that is read from there."""
        code = (
            "import asyncio, sys\n"
            "from bulkstop.kore.token import command_source\n"
            "print(asyncio.run(command_source('cat; echo token')()), sys.stdin.read())"
        )
        done = subprocess.run([sys.executable, "-c", code], input="list", capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("token list\n", "")

    @pytest.mark.real
    @pytest.mark.parametrize(
        ("command", "how"),
        [
            ("echo hidden; echo 'hidden, not logged in' >&2; exit 3", "failed with exit code 3"),
            ("set -x; token=hidden; exit 1", "failed with exit code 1"),
            ("printf 'aGlkZGVu' >&2; exit 1", "failed with exit code 1"),
            ("yes hidden | head -c 300000 >&2; exit 1", "failed with exit code 1"),
            ("exit 7", "failed with exit code 7"),
            ("no-such-command-here", "failed with exit code 127 (the shell has not found it)"),
            ("/", "failed with exit code 126 (it cannot be run)"),
            ("kill -9 $$", "was ended by signal 9"),
        ],
    )
    async def test_that_fails(self, command: str, how: str) -> None:
        """A failing command is only reported by how it ended, because its output may contain a secret."""
        said = "its words may hold a secret and are not shown: run it by hand to see them"
        assert str(await failure(command_source(command))) == f"token command {how}; {said}"

    @pytest.mark.real
    async def test_that_the_shell_cannot_be_given(self) -> None:
        """A command line that no process can have is one line, too."""
        assert "cannot be run" in str(await failure(command_source("echo a\0b")))

    @pytest.mark.real
    @pytest.mark.parametrize(
        ("command", "reason"),
        [
            ("true", "is empty"),
            ("echo hidden; echo hidden", "not one word"),
            ("printf 'hidden\\377'", "not one word"),
            ("head -c 65537 /dev/zero | tr '\\0' h", f"more than {TOKEN_BYTES} bytes"),
            ("yes hidden", f"more than {TOKEN_BYTES} bytes"),
        ],
    )
    async def test_that_prints_no_token(self, command: str, reason: str) -> None:
        """Output other than one token is reported with the reason, even if it never ends."""
        error = await failure(command_source(command))
        assert reason in str(error)
        assert "hidden" not in text_of(error)

    @pytest.mark.real
    async def test_of_the_greatest_size(self) -> None:
        """A token of exactly the greatest size still passes."""
        assert await command_source(f"head -c {TOKEN_BYTES} /dev/zero | tr '\\0' a")() == "a" * TOKEN_BYTES

    @pytest.mark.real
    @pytest.mark.parametrize("code", [0, 3])
    @pytest.mark.parametrize("has_pidfd", [True, False])
    async def test_that_leaves_an_agent_behind(
        self, code: int, has_pidfd: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A command is done when it has exited: what it left running, its output open, is let be."""
        if not has_pidfd:
            monkeypatch.setattr(os, "pidfd_open", Mock(side_effect=OSError), raising=False)
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        mint = command_source(f"(read line < {fifo}; echo alive > {fifo}) & echo token; exit {code}")
        if code:
            assert "exit code 3" in str(await failure(mint))
        else:
            assert await mint() == "token"

        def ask() -> str:
            fifo.write_text("ask\n")
            return fifo.read_text()

        assert await asyncio.to_thread(ask) == "alive\n"

    @pytest.mark.real
    @LOOPS
    def test_killed_with_all_it_started(
        self, tmp_path: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        """When the time is up or the caller is cancelled, the command and what it started are gone."""

        async def timeout(alive: "Alive") -> None:
            error = await failure(command_source(alive.command, timeout_s=0.3))
            assert str(error) == "token command did not end within 0.3 s and was killed"

        async def cancelled(alive: "Alive") -> None:
            task = asyncio.create_task(cast(Coroutine[Any, Any, str], command_source(alive.command)()))
            await alive.started()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        async def both() -> None:
            for number, end in enumerate((timeout, cancelled)):
                for silent in ("", "exec >&- 2>&-; "):  # what is still waited for: its words, or its end
                    alive = Alive(tmp_path / f"{number}{silent}", silent)
                    await end(alive)
                    await alive.ended()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(both())

    @pytest.mark.real
    @LOOPS
    def test_on_each_loop(self, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        """A command's token, failure and flood mean the same on asyncio's own loop and on uvloop."""

        async def all_three() -> None:
            assert await command_source("echo token")() == "token"
            assert "exit code 4" in str(await failure(command_source("echo sorry >&2; exit 4")))
            assert "more than" in str(await failure(command_source("yes")))

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(all_three())


class Alive:
    """A command that ends only when killed, and a pipe that is open for as long as any part of it lives."""

    def __init__(self, fifo: Path, prelude: str) -> None:
        os.mkfifo(fifo)
        self._fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self._writer = os.open(fifo, os.O_WRONLY)  # so that there is an end to read, however early the command dies
        self.command = f"{prelude}exec 9> '{fifo}'; sleep 300 & echo ready >&9; sleep 300; wait"

    async def started(self) -> None:
        """Wait until the command runs."""
        await self._read()

    async def ended(self) -> None:
        """Wait until the last part of it is gone."""
        os.close(self._writer)
        while await self._read():
            pass
        os.close(self._fd)

    async def _read(self) -> bytes:
        readable = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, readable.set)
        await readable.wait()
        loop.remove_reader(self._fd)
        return os.read(self._fd, 100)


class TestMinted:
    """A token signed with the client secret."""

    @pytest.mark.parametrize("algorithm", HMAC)
    async def test_with_a_secret(self, algorithm: Algorithm) -> None:
        """Header and payload are exactly the documented ones, and PyJWT accepts the signature."""
        token = await signing_source("cs-1", LONG_SECRET, algorithm)()
        assert decoded(token) == ({"alg": algorithm, "typ": "JWT"}, {"sub": "bulkstop", "appId": "cs-1"})
        assert jwt.decode(token, LONG_SECRET, [algorithm])["appId"] == "cs-1"

    @pytest.mark.parametrize("algorithm", RSA)
    async def test_with_an_rsa_key(self, algorithm: Algorithm, rsa_key: rsa.RSAPrivateKey) -> None:
        """With a private key in PEM form the same claims are signed with RSA."""
        token = await signing_source("cs-1", pem(rsa_key), algorithm, subject="ops")()
        assert decoded(token) == ({"alg": algorithm, "typ": "JWT"}, {"sub": "ops", "appId": "cs-1"})
        assert jwt.decode(token, rsa_key.public_key(), [algorithm])["sub"] == "ops"

    @pytest.mark.parametrize(("algorithm", "digest"), [("HS256", hashlib.sha256), ("HS512", hashlib.sha512)])
    async def test_with_a_short_secret(self, algorithm: Algorithm, digest: Callable[[], Any]) -> None:
        """A secret shorter than PyJWT likes is used as it is, without a warning."""
        text, _, signature = (await signing_source("cs-1", SHORT_SECRET, algorithm)()).rpartition(".")
        expected = hmac.new(SHORT_SECRET.encode(), text.encode(), digest).digest()
        assert base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)) == expected

    async def test_without_jti_is_always_the_same(self) -> None:
        """The documented payload holds no time, so the token does not change."""
        mint = signing_source("cs-1", LONG_SECRET)
        assert await mint() == await mint()

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    async def test_with_jti(self, algorithm: Algorithm, clock: Clock, rsa_key: rsa.RSAPrivateKey) -> None:
        """With jti each token has an id of its own, says that it was made a minute ago, and ends in 300 s."""
        clock.time += 0.9
        secret = LONG_SECRET if algorithm in HMAC else pem(rsa_key)
        mint = signing_source("cs-1", secret, algorithm, jti=True, now=clock)
        payloads = [decoded(await mint())[1] for _ in range(3)]
        assert len({uuid.UUID(payload.pop("jti"), version=4) for payload in payloads}) == 3
        assert payloads == [{"sub": "bulkstop", "appId": "cs-1", "iat": 1_699_999_940, "exp": 1_700_000_300}] * 3

    async def test_with_a_key_that_does_not_fit(self, rsa_key: rsa.RSAPrivateKey) -> None:
        """A key that does not fit the algorithm is reported by what is needed, and never shown."""
        public = rsa_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        private = pem(rsa_key)
        rsa_wrong = [
            *("", SHORT_SECRET, "hidden\udc80", private[: len(private) // 2], public.decode(), "ssh-rsa AAAA"),
            *(pem(ec.generate_private_key(ec.SECP256R1())), pem(rsa_key, b"password")),
        ]
        wrong = [("RS256", secret) for secret in rsa_wrong] + [("HS256", s) for s in ("", private, "hidden\udc80")]
        for algorithm, secret in wrong:
            error = await failure(signing_source("cs-1", secret, cast(Algorithm, algorithm)))
            why = "the key is encrypted" if "ENCRYPTED" in secret else f"for {algorithm} the client secret must be "
            assert why in str(error)
            assert not any(line in text_of(error) for line in secret.splitlines() if "-----" not in line)

    def test_with_another_algorithm(self) -> None:
        """An algorithm that is not offered is refused, above all the one that signs nothing."""
        with pytest.raises(CredentialsError, match="'none': use one of HS256, HS512, RS256, RS512"):
            signing_source("cs-1", "", cast(Algorithm, "none"))


class TestGet:
    """The token for the next attempt."""

    async def test_asks_the_source_once(self, clock: Clock) -> None:
        """A token without a known end is got once and kept."""
        source = FakeSource("opaque")
        tokens = Tokens(source, renewable=True, now=clock)
        for _ in range(3):
            assert await tokens.get() == Token("opaque", None)
            clock.time += 1e6
        assert source.calls == 1

    @pytest.mark.parametrize("exp", [0, -5, True, "1700000300", None, 1e300, [1], {}])
    async def test_odd_expiry(self, clock: Clock, exp: object) -> None:
        """An expiry that is not a time counts as none: the service is to judge such a token."""
        token = await Tokens(static_source(a_jwt(exp)), renewable=False, now=clock).get()
        assert token.expires_at is None

    @pytest.mark.parametrize(("lifetime_s", "margin_s"), [(3600, 60), (600, 60), (300, 30), (10, 1), (1, 0.1)])
    async def test_renews_before_expiry(self, clock: Clock, lifetime_s: float, margin_s: float) -> None:
        """A token is renewed 60 s before its end, or in the last tenth of the time it had left when it was got."""
        old, new = a_jwt(START + lifetime_s), a_jwt(START + 9000, jti="2")
        source = FakeSource(old, new)
        tokens = Tokens(source, renewable=True, now=clock)
        assert await tokens.get() == Token(old, START + lifetime_s)
        clock.time = START + lifetime_s - margin_s - 0.01
        assert (await tokens.get()).value == old
        clock.time += 0.02
        assert (await tokens.get()).value == new
        assert source.calls == 2

    @pytest.mark.parametrize("callers", [1, 50])
    async def test_is_renewed_once_for_all(self, clock: Clock, callers: int) -> None:
        """For any number of callers, at the start and the end of a token, the source is called once."""
        old, new = a_jwt(START + 600), a_jwt(START + 1200)
        source = FakeSource(old, new)
        tokens = Tokens(source, renewable=True, now=clock)
        for expected, calls in ((old, 1), (new, 2)):
            got = await asyncio.gather(*(tokens.get() for _ in range(callers)))
            assert {token.value for token in got} == {expected}
            assert source.calls == calls
            clock.time += 600

    async def test_a_token_in_its_margin_serves_while_it_is_renewed(self, clock: Clock) -> None:
        """While one caller waits for the new token, the others use the old one as long as it is valid."""
        old, new = a_jwt(START + 600), a_jwt(START + 1200)
        source = FakeSource(old, new)
        tokens = Tokens(source, renewable=True, now=clock)
        await tokens.get()
        clock.time = START + 560
        source.go.clear()
        source.asked.clear()
        renewing = asyncio.create_task(tokens.get())
        await source.asked.wait()
        assert (await tokens.get()).value == old
        source.go.set()
        assert (await renewing).value == new
        assert (await tokens.get()).value == new

    async def test_a_cancelled_waiter_breaks_nothing(self, clock: Clock) -> None:
        """One waiter's cancellation neither ends the renewal nor the waiting of the others."""
        source = FakeSource("token")
        source.go.clear()
        tokens = Tokens(source, renewable=True, now=clock)
        tasks = [asyncio.create_task(tokens.get()) for _ in range(5)]
        await source.asked.wait()
        tasks[2].cancel()
        source.go.set()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(got.pop(2), asyncio.CancelledError)
        assert got == [Token("token")] * 4
        assert source.calls == 1

    async def test_a_cancelled_renewal_is_taken_over(self, clock: Clock) -> None:
        """When the caller who renews is cancelled, the next in line renews, for all."""
        source = FakeSource("token")
        source.go.clear()
        tokens = Tokens(source, renewable=True, now=clock)
        tasks = [asyncio.create_task(tokens.get()) for _ in range(5)]
        await source.asked.wait()
        source.asked.clear()
        tasks[0].cancel()
        await source.asked.wait()
        source.go.set()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(got.pop(0), asyncio.CancelledError)
        assert got == [Token("token")] * 4
        assert source.calls == 2

    async def test_single_use(self, clock: Clock) -> None:
        """With single use every call, concurrent ones too, gets a token of its own with its expiry."""
        tokens = Tokens(
            signing_source("cs-1", LONG_SECRET, jti=True, now=clock), renewable=True, single_use=True, now=clock
        )
        got = await asyncio.gather(*(tokens.get() for _ in range(20)))
        assert len({token.value for token in got}) == 20
        assert {token.expires_at for token in got} == {START + 300}

    async def test_a_failed_renewal_keeps_the_old_token(self, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        """While the old token is good a failing renewal is a warning every 5 s; then it is the error."""
        old = a_jwt(START + 600)
        source = FakeSource(old, CredentialsError("no network"))
        tokens = Tokens(source, renewable=True, now=clock)
        asked: list[float] = []
        await tokens.get()
        for tenth in range(5300, 6000):
            clock.time, before = START + tenth / 10, source.calls
            assert (await tokens.get()).value == old
            asked += [tenth / 10] * (source.calls - before)
        assert asked == [float(second) for second in range(540, 600, 5)]
        clock.time = START + 600
        with pytest.raises(CredentialsError, match=r"^no network$"):
            await tokens.get()
        logged = [(record.levelno, record.getMessage()) for record in caplog.records]
        assert logged == [(logging.WARNING, "the token in use is kept: no network")] * len(asked)

    async def test_a_failed_renewal_is_made_good(self, clock: Clock) -> None:
        """After a failure a later renewal that succeeds is used, and renewed in its turn."""
        source = FakeSource(
            a_jwt(START + 600), CredentialsError("no network"), a_jwt(START + 1200), a_jwt(START + 1800)
        )
        tokens = Tokens(source, renewable=True, now=clock)
        ends = []
        for second in (0, 540, 545, 1140):
            clock.time = START + second
            ends.append((await tokens.get()).expires_at)
        assert ends == [START + 600, START + 600, START + 1200, START + 1800]

    async def test_a_failure_is_shared(self, clock: Clock) -> None:
        """When no token can be had, one asking of the source tells all who wait; 5 s later it is asked again."""
        source = FakeSource(CredentialsError("not logged in"), "token")
        tokens = Tokens(source, renewable=True, now=clock)
        got = await asyncio.gather(*(tokens.get() for _ in range(50)), return_exceptions=True)
        assert [str(error) for error in got if isinstance(error, CredentialsError)] == ["not logged in"] * 50
        assert source.calls == 1
        clock.time += 5
        assert (await tokens.get()).value == "token"

    async def test_an_unchanged_file_serves_to_its_end(self, clock: Clock, tmp_path: Path) -> None:
        """A source that gives the same token again is asked every 5 s, until the token ends and that is the error."""
        path = tmp_path / "token"
        path.write_text(a_jwt(START + 600))
        tokens = Tokens(file_source(path), renewable=True, now=clock)
        for second in (0, 545, 599):
            clock.time = START + second
            assert (await tokens.get()).expires_at == START + 600
        clock.time = START + 600
        with pytest.raises(
            CredentialsError, match=r"expired at 2023-11-14T22:23:20Z .*; its source gives no newer one$"
        ):
            await tokens.get()
        path.write_text(a_jwt(START + 1200))
        clock.time += 5
        assert (await tokens.get()).expires_at == START + 1200

    @pytest.mark.parametrize("renewable", [True, False])
    async def test_a_token_that_has_expired_already(self, clock: Clock, renewable: bool) -> None:
        """A token that comes with its end behind it is not sent: the error says when it ended, by whose clock."""
        tokens = Tokens(static_source(a_jwt(START)), renewable=renewable, now=clock)
        with pytest.raises(CredentialsError, match=r"expired at 2023-11-14T22:13:20Z by this machine's clock"):
            await tokens.get()

    async def test_an_expired_renewal_does_not_replace_a_good_token(self, clock: Clock) -> None:
        """A renewal that brings a token of the past leaves the present one in use."""
        good = a_jwt(START + 600)
        tokens = Tokens(FakeSource(good, a_jwt(START)), renewable=True, now=clock)
        await tokens.get()
        clock.time = START + 590
        assert (await tokens.get()).value == good

    async def test_a_ready_made_token_serves_to_its_end(self, clock: Clock) -> None:
        """A token that cannot be renewed is used to its last second; then its expiry is the error."""
        tokens = Tokens(static_source(a_jwt(START + 600)), renewable=False, now=clock)
        for second in (0, 599.9):
            clock.time = START + second
            assert (await tokens.get()).expires_at == START + 600
        clock.time = START + 600
        with pytest.raises(CredentialsError, match=r"^the token expired at 2023-11-14T22:23:20Z"):
            await tokens.get()

    async def test_a_clock_set_back(self, clock: Clock) -> None:
        """After the machine's clock was set back, a renewal does not wait for it to come around again."""
        source = FakeSource(CredentialsError("no network"), "token")
        tokens = Tokens(source, renewable=True, now=clock)
        with pytest.raises(CredentialsError):
            await tokens.get()
        clock.time -= 3600
        assert (await tokens.get()).value == "token"


class TestRenew:
    """The effects of a 401."""

    async def test_gives_another_token_once_for_all(self, clock: Clock) -> None:
        """If several workers are refused the same token, it is renewed once, and all may continue."""
        source = FakeSource("one", "two")
        tokens = Tokens(source, renewable=True, now=clock)
        refused = await tokens.get()
        assert await asyncio.gather(*(tokens.renew(refused) for _ in range(50))) == [True] * 50
        assert (await tokens.get()).value == "two"
        assert source.calls == 2

    async def test_late_refusal_of_an_old_token(self, clock: Clock) -> None:
        """The refusal of a token that is no longer the current one needs no renewal, whenever it comes."""
        source = FakeSource("one", "two")
        tokens = Tokens(source, renewable=True, now=clock)
        refused = await tokens.get()
        await tokens.renew(refused)
        for _ in range(3):
            clock.time += 100
            assert await tokens.renew(refused)
        assert source.calls == 2

    async def test_a_fresh_token_refused(self, clock: Clock) -> None:
        """10,000 refusals of a token got after a 401 ask the source no more within 60 s; then once."""
        source = FakeSource(*(f"token-{number}" for number in range(10)))
        tokens = Tokens(source, renewable=True, now=clock)
        assert await tokens.renew(await tokens.get())
        fresh = await tokens.get()
        clock.time += 59.9
        assert not any([await tokens.renew(fresh) for _ in range(10_000)])
        assert source.calls == 2
        clock.time += 0.1
        assert await tokens.renew(fresh)
        assert source.calls == 3

    async def test_after_a_scheduled_renewal(self, clock: Clock) -> None:
        """A token that came by schedule, not after a 401, may be renewed at once when it is refused."""
        source = FakeSource("one", a_jwt(START + 20), a_jwt(START + 600), "four")
        tokens = Tokens(source, renewable=True, now=clock)
        assert await tokens.renew(await tokens.get())
        clock.time += 18
        scheduled = await tokens.get()
        assert scheduled.expires_at == START + 600
        assert await tokens.renew(scheduled)
        assert (await tokens.get()).value == "four"

    async def test_a_ready_made_token(self, clock: Clock) -> None:
        """A token that cannot be renewed is not requested again."""
        source = FakeSource("one", "two")
        tokens = Tokens(source, renewable=False, now=clock)
        assert not await tokens.renew(await tokens.get())
        assert source.calls == 1

    async def test_the_same_token_again(self, clock: Clock) -> None:
        """A source that gives the refused token again has not helped: it is asked again after 5 s, not for each row."""
        source = FakeSource("one", "one", "two")
        tokens = Tokens(source, renewable=True, now=clock)
        refused = await tokens.get()
        assert not any([await tokens.renew(refused) for _ in range(100)])
        assert source.calls == 2
        clock.time += 5
        assert await tokens.renew(refused)

    async def test_a_failing_source(self, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        """A source that fails after a 401 leaves the token in use for the other rows, and says so once in 5 s."""
        source = FakeSource("one", CredentialsError("not logged in"))
        tokens = Tokens(source, renewable=True, now=clock)
        refused = await tokens.get()
        assert not any([await tokens.renew(refused) for _ in range(100)])
        assert [record.getMessage() for record in caplog.records] == ["the token in use is kept: not logged in"]
        assert await tokens.get() == refused

    async def test_a_cancelled_renewal_is_taken_over(self, clock: Clock) -> None:
        """When the worker who renews after a 401 is cancelled, the next one does."""
        source = FakeSource("one", "two")
        tokens = Tokens(source, renewable=True, now=clock)
        refused = await tokens.get()
        source.go.clear()
        source.asked.clear()
        tasks = [asyncio.create_task(tokens.renew(refused)) for _ in range(3)]
        await source.asked.wait()
        source.asked.clear()
        tasks[0].cancel()
        await source.asked.wait()
        source.go.set()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(got[0], asyncio.CancelledError)
        assert got[1:] == [True, True]

    async def test_single_use(self, clock: Clock) -> None:
        """A single-use token was used up anyway: the next one is another."""
        source = FakeSource("one", "two", "three")
        tokens = Tokens(source, renewable=True, single_use=True, now=clock)
        refused = await tokens.get()
        assert await tokens.renew(refused)
        assert (await tokens.get()).value == "two"


class TestSecrecy:
    """No secret and no token is shown by anything that holds one."""

    async def test_in_representations(self, clock: Clock) -> None:
        """Neither a token nor its source shows it in a repr."""
        value = a_jwt(START + 600)
        source = signing_source("cs-1", SHORT_SECRET)
        tokens = Tokens(static_source(value), renewable=False, now=clock)
        token = await tokens.get()
        assert str(token) == repr(token) == f"Token(expires_at={START + 600})"
        shown = f"{tokens!r} {tokens} {source!r} {static_source(value)!r} {token} {vars(tokens)}"
        assert value not in shown
        assert SHORT_SECRET not in shown

    async def test_in_errors_and_logs(self, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        """The errors and warnings of a token that ends show it nowhere, not even in their chains."""
        caplog.set_level(logging.DEBUG)
        value = a_jwt(START + 600)
        tokens = Tokens(FakeSource(value, CredentialsError("gone")), renewable=True, now=clock)
        refused = await tokens.get()
        await tokens.renew(refused)
        clock.time += 600
        with pytest.raises(CredentialsError) as caught:
            await tokens.get()
        assert value not in text_of(caught.value) + caplog.text
