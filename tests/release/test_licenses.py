"""`make licenses` lists the licence of all that is needed, and of nothing else."""

from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from release import licenses
from release.licenses import Licensed, find_licence, list_licences, main


class Described(Distribution):
    """A package with this metadata."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read_text(self, filename: str) -> str | None:
        """Return the metadata."""
        return f"Metadata-Version: 2.4\nName: x\nVersion: 1\n{self._text}\n" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        """Have no files."""
        return Path(path)


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("License-Expression: MIT OR BSD-3-Clause", "MIT OR BSD-3-Clause"),
        ("License-Expression: MIT\nLicense: whatever", "MIT"),
        ("Classifier: License :: OSI Approved :: MIT License\nClassifier: Framework :: x", "MIT License"),
        ("Classifier: License :: OSI Approved\nLicense: MIT", "MIT"),
        ("License: Permission is hereby granted, free of charge, to any person obtaining a copy of this", None),
        ("Classifier: Framework :: x", None),
    ],
)
def test_where_a_licence_stands(text: str, licence: str | None) -> None:
    """A licence is read where packages name it; a complete text in its place is not accepted."""
    assert find_licence(Described(text)) == licence


def test_all_that_is_needed() -> None:
    """All dependencies, direct and indirect, and those of an extra, are listed with their licences."""
    found = {each.name.lower().replace("_", "-"): each for each in list_licences()}
    assert {"aiohttp", "click", "cryptography", "multidict", "orjson", "redis", "plotly", "python-calamine"} <= set(
        found
    )
    assert {"pytest", "mypy", "ruff", "bulkstop"} & set(found) == set()
    assert (found["multidict"].extra, found["redis"].extra) == (None, "redis")
    assert [each.name for each in found.values() if each.licence is None] == []


def test_one_without(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A package without a licence is reported, with exit code 1."""
    monkeypatch.setattr(
        licenses, "list_licences", lambda: [Licensed("a", "1", "MIT", None), Licensed("b", "2", None, "x")]
    )
    assert main() == 1
    said = capsys.readouterr()
    assert said.out == "a 1  MIT\nb 2  NO LICENCE NAMED  (only with the extra x)\n"
    assert said.err == "licenses: no licence is named by b; look it up before a release\n"
