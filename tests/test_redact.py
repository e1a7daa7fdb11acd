"""Secrets are masked in every place."""

import base64
import json
import time
from pathlib import Path
from urllib.parse import quote

import jwt
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bulkstop.redact import MASK, REDACTOR, Redactor
from bulkstop.runs.wiring import list_secrets, make_tokens
from bulkstop.settings import Settings

SECRET = 's3cr3t/wïth "quotes" & more'
TOKEN = jwt.encode({"sub": "u1", "appId": "cs-1"}, "x" * 32, "HS256")
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\nAASCBKcwggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        repr(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        f"{SECRET}{SECRET}",
    ],
)
def test_a_secret_is_masked_however_it_is_written(shown: str) -> None:
    """A secret is masked as it is and as addresses, JSON, a repr and basic authentication write it."""
    masked = Redactor(SECRET).redact(f"before {shown} after")
    assert masked.replace(MASK, "") == "before  after"


def test_a_key_is_masked_line_by_line() -> None:
    """Each line of a multi-line key is masked."""
    secrets = Redactor(KEY)
    for line in KEY.splitlines():
        assert secrets.redact(f"at {line}!") == f"at {MASK}!"
    assert secrets.redact(f"<{KEY}>") == f"<{MASK}>"


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"auth: {TOKEN}",
        f"Bearer {TOKEN}, and more",
        f'{{"auth":"{TOKEN}"}}',
        f"https://h/?t={TOKEN}&x=1",
        f"%22{TOKEN}%22",
        f"x{TOKEN}",
        TOKEN.rpartition(".")[0] + ".",
        TOKEN[: TOKEN.rindex(".") - 10],
        f"{TOKEN} {TOKEN}",
    ],
)
def test_whatever_looks_like_a_jwt_is_masked(text: str) -> None:
    """An unknown token is masked by its shape, even with its end cut off."""
    masked = Redactor().redact(text)
    assert MASK in masked
    assert all(part not in masked for part in TOKEN.split("."))
    assert TOKEN.split(".")[1][:12] not in masked


OPAQUE = "Zk3-planted_Qw7Tx9.Vb2Rn5Lm8Hs4Jd6"
CUT = [
    OPAQUE[:16],
    OPAQUE[:20],
    OPAQUE[:-1],
    OPAQUE[1:],
    OPAQUE[-20:],
    OPAQUE[-16:],
    f"{OPAQUE[:7]} {OPAQUE[7:]}",
    f"{OPAQUE[:20]}\r\n\t{OPAQUE[20:]}",
    f"{OPAQUE[:30]}\n{OPAQUE[30:]}",
    f"{OPAQUE[:17]} {OPAQUE[17:20]}",
    f"{OPAQUE[4:9]}\u3000{OPAQUE[9:]}",
    *(part for part in TOKEN.split(".")[1:]),
    TOKEN.split(".")[2][:16],
    TOKEN.split(".")[2][-16:],
    TOKEN[TOKEN.index(".") + 4 :],
    f"{TOKEN[:-30]}\n {TOKEN[-30:]}",
    f"{TOKEN[:60]} {TOKEN[60:]}",
]
"""Possible damage of a token: cut off, broken by blanks, or for a JWT its parts alone."""


@pytest.mark.parametrize("text", CUT)
def test_a_part_of_a_secret_is_masked(text: str) -> None:
    """The beginning and the end of a token are masked where it was cut off, broken or taken apart, and no more is."""
    masked = Redactor(OPAQUE, TOKEN).redact(f"before <{text}> after")
    assert masked.startswith("before <")
    assert masked.endswith("> after")
    assert masked[8:-7].replace(MASK, "").strip() == ""


def test_a_part_that_says_nothing_stays() -> None:
    """A few characters of a token, and how every JWT begins, are shown: they could be anything."""
    secrets = Redactor(OPAQUE, TOKEN, "a-short-one")
    for text in (OPAQUE[:15], OPAQUE[-15:], TOKEN.split(".")[0], "a-short", f"{OPAQUE[:6]} and {OPAQUE[6:15]}"):
        assert secrets.redact(f"<{text}>") == f"<{text}>"


def test_a_secret_of_several_words() -> None:
    """A secret with blanks of its own is masked with others in their place, or with none."""
    secret = "correct horse\nbattery staple"
    for text in (secret, "correct horse battery staple", "correcthorsebatterystaple"):
        assert Redactor(secret).redact(f"<{text}>") == f"<{MASK}>"


@given(
    secret=st.text(st.sampled_from("abcXYZ019+/=_.-~"), min_size=16, max_size=80),
    cut=st.integers(16, 80),
    blank=st.sampled_from(["", " ", "\n", "\r\n  "]),
    at=st.integers(16, 80),
    around=st.text(max_size=20),
)
def test_no_beginning_and_no_end_comes_out(secret: str, cut: int, blank: str, at: int, around: str) -> None:
    """For any part of a secret in any text, at most 15 of its characters remain."""
    for part in (secret[:cut], secret[-cut:], secret[:at] + blank + secret[at:]):
        masked = Redactor(secret).redact(f"{around}\0{part}\0{around}")
        bare = "".join(masked.partition("\0")[2].rpartition("\0")[0].split())
        assert secret[:16] not in bare
        assert secret[-16:] not in bare


@pytest.mark.parametrize(
    "text",
    [
        "cd-21a05e3-056f-57fb-ba03-afed8e63b43b",
        "https://platform.example.com/api/v2/public/st-05205be1-c0e6-5037-9587-0334e1f1f3fd",
        "eyJust a word. And another",
        "key.eyelash.example.com",
        "2026-01-02T03:04:05.678Z",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Ids, addresses and times are what a log is for."""
    assert Redactor("another-secret").redact(text) == text


@pytest.mark.parametrize("secret", [None, "", "abc"])
def test_what_is_too_short_is_no_secret(secret: str | None) -> None:
    """Nothing, or a few letters, would tear every line apart."""
    assert Redactor(secret).redact("abc abcdef") == "abc abcdef"


def test_single_use_tokens_do_not_pile_up() -> None:
    """A token that is masked by its looks need not be kept."""
    secrets = Redactor()
    secrets.add(TOKEN)
    for number in range(1000):
        secrets.add(jwt.encode({"sub": f"user-{number}", "appId": "cs-1"}, "x" * 32, "HS256"))
    assert not secrets._known
    assert len(secrets._cut) <= 256


def test_secrets_add_up() -> None:
    """A secret learnt later is masked as well, and of two that begin alike the longer one wholly."""
    secrets = Redactor("opaque-token")
    secrets.add("opaque-token-2")
    secrets.add("opaque-token")
    assert secrets.redact("opaque-token-2 opaque-token opaque") == f"{MASK} {MASK} opaque"


def test_what_settings_hold() -> None:
    """Credentials and the passwords in addresses are secret, however they are escaped there."""
    settings = Settings(
        host="platform.example.com",
        client_id="cs-1",
        client_secret="the-client-secret",
        proxy="http://user:pa%2Fss-w0rd@proxy:3128",
        quota_store="redis://:redis-pass@127.0.0.1/0",
    )
    secrets = Redactor(*list_secrets(settings))
    basic = base64.b64encode(b"user:pa/ss-w0rd").decode()
    said = f"the-client-secret pa%2Fss-w0rd pa/ss-w0rd redis-pass {basic} cs-1 user proxy"
    assert secrets.redact(said) == f"{MASK} {MASK} {MASK} {MASK} {MASK} cs-1 user proxy"
    assert list_secrets(Settings(host="h", token=TOKEN)) == [TOKEN]
    assert list_secrets(Settings(host="h", token_command="vault read -field=token app")) == [
        "vault read -field=token app"
    ]
    assert list_secrets(Settings(host="h", quota_store="calls.sqlite")) == []


@pytest.mark.real
async def test_what_a_run_gets_on_its_way_is_learnt(tmp_path: Path) -> None:
    """A token from a file or a command, and a secret from a file, are masked from the moment they are known."""
    (tmp_path / "token").write_text("Hk3-token-from-a-file\n")
    (tmp_path / "secret").write_text("Yt9-secret-from-a-file\n")
    for source, secret in [
        ({"token_file": str(tmp_path / "token")}, "Hk3-token-from-a-file"),
        ({"token_command": "echo Wm7-token-of-a-command"}, "Wm7-token-of-a-command"),
        ({"client_id": "cs-1", "client_secret_file": str(tmp_path / "secret")}, "Yt9-secret-from-a-file"),
    ]:
        assert REDACTOR.redact(secret) == secret
        token = await make_tokens(Settings(host="h", **source)).get()
        assert REDACTOR.redact(f"{secret} {token.value}") == f"{MASK} {MASK}"


@pytest.mark.parametrize(
    "text", ["eyJ" * 300_000, "eyJ." * 200_000, "a" * 1_000_000 + ".eyJ", "eyJ " * 200_000, "a-secreta-se" * 90_000]
)
def test_a_long_text_is_masked_in_no_time(text: str) -> None:
    """A hostile text cannot make the masking slow."""
    began = time.process_time()
    Redactor("a-secret" * 5).redact(text)
    assert time.process_time() - began < 2.0


WORDS = st.text(st.sampled_from("xyz01\"'\\%/\n é\x1b."), min_size=4, max_size=12)


@given(secrets=st.lists(WORDS, min_size=1, max_size=3), around=st.lists(st.text(max_size=8), min_size=2, max_size=4))
@example(secrets=["xxxx"], around=["xxx", "x"])
def test_no_secret_comes_out(secrets: list[str], around: list[str]) -> None:
    """For any text with secrets, the result contains none of them."""
    assume(all(len(secret.strip()) >= 4 for secret in secrets))
    text = "".join(piece + secret for piece in around for secret in secrets)
    masked = Redactor(*secrets).redact(text)
    assert [secret for secret in secrets if secret in masked] == []
