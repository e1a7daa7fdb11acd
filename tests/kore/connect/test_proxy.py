"""A proxy that refuses is asked once."""

import asyncio

import pytest

from bulkstop.errors import CredentialsError
from bulkstop.kore.connect.proxy import REFUSED_S, ProxyGate, make_login
from bulkstop.kore.exchange import Response
from tests.virtual_time import run

PROXY = "http://user:pa55word@proxy:3128"


class TestGate:
    """One connection goes first, and its result holds for all."""

    @pytest.mark.parametrize(
        ("variable", "text", "status", "remedy"),
        [
            ("HTTPS_PROXY", "proxy:3128", 407, "put the user and the password into HTTPS_PROXY (http://user:password@"),
            ("https_proxy", "http://proxy:3128/", 403, "or give another one (https_proxy)"),
            ("HTTPS_PROXY", "http://other:3128", 407, "name the user in proxy, "),
        ],
    )
    def test_what_to_change(
        self, variable: str, text: str, status: int, remedy: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy that a variable for everybody names is put right there."""
        for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, text)
        with pytest.raises(CredentialsError) as caught:
            ProxyGate("http://proxy:3128", "api.example:443").answered(status)
        assert remedy in str(caught.value)

    def test_refused_once(self) -> None:
        """Of many concurrent calls one tries; the password is not shown, and not used for a while."""
        now = [0.0]
        gate = ProxyGate(PROXY, "api.example:443", clock=lambda: now[0])
        asked = 0

        async def ask() -> None:
            nonlocal asked
            async with gate.pass_through():
                asked += 1
                await asyncio.sleep(0.1)
                gate.answered(407, 'NTLM, Negotiate realm="x"')

        async def ask_together() -> list[BaseException | None]:
            return await asyncio.gather(*(ask() for _ in range(20)), return_exceptions=True)

        said = {str(error) for error in run(ask_together())[0] if isinstance(error, CredentialsError)}
        assert asked == 1
        assert len(said) == 1
        assert "refuses the user or the password (HTTP 407)" in min(said)
        assert "it takes NTLM and Negotiate" in min(said)
        assert "pa55word" not in min(said)
        now[0] = REFUSED_S
        run(ask_together())
        assert asked == 2

    def test_open(self) -> None:
        """After one success the others go at the same time."""
        gate = ProxyGate(PROXY, "api.example:443")
        inside = most = 0

        async def ask() -> None:
            nonlocal inside, most
            async with gate.pass_through():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(1)
                gate.answered(200)
                inside -= 1

        async def main() -> None:
            await asyncio.gather(*(ask() for _ in range(20)))

        run(main())
        assert most == 19

    @pytest.mark.parametrize(
        ("status", "body", "ends"),
        [(407, b"{}", True), (403, b"<html>denied</html>", True), (403, b'{"errors":[]}', False), (502, b"", False)],
    )
    def test_plain_calls(self, status: int, body: bytes, ends: bool) -> None:
        """For a plain call, a 407 is the proxy's, as is a 403 without a JSON object; others are the service's."""
        gate = ProxyGate("http://proxy:3128", "api.example:80")
        if not ends:
            gate.judge(Response(status, body, 1.0))
            return
        with pytest.raises(CredentialsError, match=f"the proxy http://proxy:3128 .*HTTP {status}"):
            gate.judge(Response(status, body, 1.0))


def test_password_in_any_script() -> None:
    """A login is sent as UTF-8, as curl sends it."""
    assert make_login("http://janusz:%C4%98dward@p") == {"Proxy-Authorization": "Basic amFudXN6OsSYZHdhcmQ="}
