"""Whose the quota store is, in words and as JSON."""

import re
from pathlib import Path

import pytest

from bulkstop.report.store import SharedBy, StoreFacts, format_store, store_to_json
from bulkstop.runs.wiring import describe_store
from bulkstop.settings import NO_LIMIT, Settings


@pytest.mark.parametrize(
    ("where", "shown", "shared_by", "words"),
    [
        (None, "memory", SharedBy.RUN, "counts alone"),
        ("memory", "memory", SharedBy.RUN, "counts alone"),
        ("redis://u:hush@h:6379/1", "redis://u@h:6379/1", SharedBy.SERVER, "all who use this server"),
        ("rediss://h?password=hush", "rediss://h", SharedBy.SERVER, "all who use this server"),
        (
            "own/q.sqlite",
            "own/q.sqlite",
            SharedBy.USER,
            r"your own runs only; to share it with other users: .*quota.sqlite",
        ),
        ("own/none/q", "own/none/q", SharedBy.USER, "your own runs only"),
        ("team/q.sqlite", "team/q.sqlite", SharedBy.GROUP, "the users of its group"),
        ("team/private", "team/private", SharedBy.USER, "your own runs only"),
        ("open/q.sqlite", "open/q.sqlite", SharedBy.USER, "your own runs only"),
    ],
)
def test_whose_it_is(
    where: str | None, shown: str, shared_by: SharedBy, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan names the store, without a password, and says who counts with it, also before the file is there."""
    monkeypatch.chdir(tmp_path)
    for name, mode in (("own", 0o700), ("team", 0o2770), ("open", 0o2777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "team" / "private").touch(0o600)
    facts = describe_store(Settings(host="h", quota_store=where))
    assert facts == StoreFacts(shown, shared_by)
    text = format_store(facts)
    assert text.startswith(f"{shown} (")
    assert re.search(words, text), text
    assert store_to_json(facts) == {"quota_store": shown, "quota_store_shared_by": shared_by.value}


def test_without_a_quota() -> None:
    """Without a quota there is no store."""
    assert describe_store(Settings(host="h", quota=NO_LIMIT, quota_store="q")) is None
    assert store_to_json(None) == {"quota_store": None, "quota_store_shared_by": None}
