"""CONTRIBUTING.md is so: the files that it names are those to touch, and its commands and its first change work."""

import re
import subprocess
from pathlib import Path

import pytest

from bulkstop.source.forms import format as formats
from bulkstop.source.forms.format import Format
from tests.processes import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
WHERE_TO_ADD = PAGE.partition("\n## Where to add something\n")[2].partition("\n### Anything else\n")[0]
SECTIONS = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^### |\Z)", WHERE_TO_ADD, re.MULTILINE | re.DOTALL))
PACKAGE = ROOT / "bulkstop"


def follow(section: str) -> list[str]:
    """Return the names that a section tells to follow."""
    sentence = re.search(r"\bFollow (`.*?`)\.\s", section, re.DOTALL)
    assert sentence is not None
    return re.findall(r"`([^`]+)`", sentence[1])


def find_places(names: list[str]) -> set[str]:
    """Return the modules that contain one of these names as a word."""
    word = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names))
    return {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if word.search(path.read_text())}


@pytest.mark.parametrize("heading", SECTIONS)
def test_where_to_add(heading: str) -> None:
    """The numbered files of a section are exactly those that contain the example to follow, each once."""
    steps = re.findall(r"^\d\. `([\w/]+\.py)`", SECTIONS[heading], re.MULTILINE)
    assert len(steps) == len(set(steps)) > 2
    assert set(steps) == find_places(follow(SECTIONS[heading]))


def test_all_kinds() -> None:
    """Each usual kind of addition has a section."""
    assert list(SECTIONS) == [
        *("An input format", "An outcome", "An option", "A call of the API", "A metric", "A quota store")
    ]


@pytest.mark.real
def test_make_targets() -> None:
    """Each target of make that the page names is one."""
    goals = re.findall(r"`make ([a-z-]+)", PAGE) + re.findall(r"^ *make ([a-z -]+?)(?: +#|$)", PAGE, re.MULTILINE)
    assert {"demo", "check", "test", "test-all", "format check", "release-check", "licenses"} <= set(goals)
    for goal in sorted({word for each in goals for word in each.split()}):
        done = subprocess.run(["make", "--dry-run", goal], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_first_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The change that a newcomer is led through makes its test pass, and without the change it fails."""
    ending, form = (re.findall(r"add `\"(\.\w+)\"` to the endings of `Format\.(\w+)`", PAGE))[0]
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    text = re.sub(r"^   ", "", block, flags=re.MULTILINE)
    (line,) = re.findall(r"`(from [^`]+ import [^`]+)`", PAGE)
    names: dict[str, object] = {}
    exec(f"{line}\n{text}", names)
    (test,) = (each for name, each in names.items() if name.startswith("test_"))
    assert callable(test)
    monkeypatch.delitem(formats.ENDINGS, ending, raising=False)  # a newcomer may have made it
    with pytest.raises(AssertionError):
        test()
    monkeypatch.setitem(formats.ENDINGS, ending, Format[form])
    test()


def test_first_change_is_placed() -> None:
    """The files that a newcomer is led to are there."""
    first = PAGE.partition("\n## The three suites\n")[0]
    paths = re.findall(r"`((?:bulkstop|tests)/[\w/.]+\.py)`", first)
    assert len(paths) > 1
    assert [path for path in paths if not Path(ROOT / path).exists()] == []
