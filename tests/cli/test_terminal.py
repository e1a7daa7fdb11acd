"""What a terminal shows while a list is read."""

import re
from pathlib import Path

import pytest

from bulkstop.cli import terminal
from bulkstop.cli.terminal import show_reading
from bulkstop.model import CampaignType, Defaults
from bulkstop.source import read


@pytest.mark.parametrize("is_quiet", [False, True])
def test_how_far_a_reading_has_come(
    is_quiet: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One overwritten line shows what was read, and is removed at the end; --quiet shows none."""
    monkeypatch.setattr(terminal, "is_shown", lambda: True)
    monkeypatch.setattr(terminal, "QUIET_S", 0.0)
    monkeypatch.setattr(terminal, "EVERY_S", 0.0)
    monkeypatch.chdir(tmp_path)
    name = "list\x1b[2J.jsonl"
    Path(name).write_bytes(b'{"campaign_id": "cd-1", "note": "%01000d"}\n' % 0 * 2200)
    with show_reading(is_quiet=is_quiet):
        assert len(list(read([name], defaults=Defaults(CampaignType.VOICE, "a1", "st-1")))) == 2200
    shown = re.sub(r"\x1b\[2K", "", capsys.readouterr().err).split("\r")
    if is_quiet:
        assert shown == [""]
    else:
        assert [line.split(":")[0] for line in shown[1:-1]] == ["reading list\ufffd[2J.jsonl"] * 2
        assert all(line.endswith(" lines") for line in shown[1:-1])
        assert " MB, " in shown[1]
        assert shown[-1] == ""


def test_nothing_is_shown_elsewhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A log is not written over."""
    monkeypatch.setattr(terminal, "is_shown", lambda: False)
    with show_reading(is_quiet=False):
        pass
    assert capsys.readouterr().err == ""
