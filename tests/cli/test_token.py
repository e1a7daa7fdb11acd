"""`bulkstop token` for a user."""

import json
import time
from pathlib import Path

import jwt
import pytest

from tests.processes import TOKEN, bulkstop

pytestmark = pytest.mark.real

SECRET = "a-secret-of-32-characters-or-more"


def test_claims(tmp_path: Path) -> None:
    """It shows the claims, not the token, on standard error."""
    run = bulkstop("token", cwd=tmp_path)
    assert (run.code, run.out) == (0, "")
    assert '"sub": "u"' in run.err
    assert "expires: unknown" in run.err


def test_print(tmp_path: Path) -> None:
    """With `--print` only the token goes to standard output, here a newly signed one."""
    app = {"BULKSTOP_TOKEN": None, "BULKSTOP_CLIENT_ID": "cs-1", "BULKSTOP_CLIENT_SECRET": SECRET}
    run = bulkstop("token", "--print", cwd=tmp_path, **app)
    assert (run.code, run.err) == (0, "")
    claims = jwt.decode(run.out.strip(), SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["appId"]) == ("bulkstop", "cs-1")


def test_time_left(tmp_path: Path) -> None:
    """It says how long a token still lives."""
    token = jwt.encode({"sub": "u", "exp": int(time.time() + 600)}, SECRET)
    (tmp_path / "token").write_text(token)
    run = bulkstop("token", "--token-file", "token", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 0
    assert "expires: in 10 min" in run.err
    assert token not in run.err


def test_expired(tmp_path: Path) -> None:
    """An expired token is exit 2 with a message, and is not shown."""
    token = jwt.encode({"sub": "u", "exp": int(time.time() - 600)}, SECRET)
    run = bulkstop("token", cwd=tmp_path, BULKSTOP_TOKEN=token)
    assert run.code == 2
    assert "expired at" in run.err
    assert token not in run.err


def test_opaque(tmp_path: Path) -> None:
    """A token that is not a JWT has no claims to show, and is not shown either."""
    run = bulkstop("token", cwd=tmp_path, BULKSTOP_TOKEN="opaque-opaque-opaque")
    assert run.code == 0
    assert "no claims" in run.err
    assert "opaque-opaque" not in run.err


def test_failing_command(tmp_path: Path) -> None:
    """A command without a token is exit 2, and its output is not repeated."""
    run = bulkstop("token", "--token-command", f"echo {TOKEN}; exit 3", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("bulkstop: token command failed with exit code 3; its words may hold a secret ")


def test_no_credentials(tmp_path: Path) -> None:
    """Without credentials it is exit 2 and names the ways to provide them."""
    run = bulkstop("token", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 2
    assert "no credentials: set BULKSTOP_TOKEN" in run.err


def test_claims_are_json(tmp_path: Path) -> None:
    """The claims are machine-readable."""
    run = bulkstop("token", cwd=tmp_path)
    assert json.loads(run.err[: run.err.rindex("}") + 1]) == {"sub": "u"}


def test_profile_of_other_commands(tmp_path: Path) -> None:
    """It needs and accepts no host, and a profile may have settings that it does not read."""
    (tmp_path / "bulkstop.toml").write_text(
        f'[profile.prod]\nhost = "http://plain.example"\nquota = "1/s"\ntoken_command = "echo {TOKEN}"\n'
    )
    run = bulkstop("token", "--profile", "prod", cwd=tmp_path, BULKSTOP_TOKEN=None, BULKSTOP_QUOTA="soon")
    assert (run.code, "expires: unknown" in run.err) == (0, True), run
    run = bulkstop("token", "--host", "api.example", cwd=tmp_path)
    assert run.code == 2
    assert run.err == "bulkstop: No such option '--host'; see bulkstop token --help\n"
