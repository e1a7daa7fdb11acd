"""Inputs made of bytes, read from real files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bulkstop.model import CampaignType, Defaults, Row
from bulkstop.source import read

Read = Callable[[str, bytes], list[Row]]


@pytest.fixture
def defaults() -> Defaults:
    """Add to a bare id what it needs beside it."""
    return Defaults(CampaignType.VOICE, "a" * 24, "st-default")


@pytest.fixture
def rows_of(tmp_path: Path, defaults: Defaults) -> Read:
    """Write bytes to a file of this name and read its rows."""

    def rows(name: str, content: bytes) -> list[Row]:
        path = tmp_path / name
        path.write_bytes(content)
        return list(read([str(path)], defaults=defaults))

    return rows
