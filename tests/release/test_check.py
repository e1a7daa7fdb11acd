"""`make release-check` finds what would make a release a bad one."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from release.check import ReleaseError, build, choose_pythons, compare, find_pythons, find_strays, read_version, run
from tests.processes import ROOT

HERE = sys.version_info[:2]


def make_wheel(folder: Path, *names: str) -> Path:
    """Write a wheel that holds these files."""
    with ZipFile(folder / "x.whl", "w") as wheel:
        for name in names:
            wheel.writestr(name, "")
    return folder / "x.whl"


def test_strays(tmp_path: Path) -> None:
    """Tests and other folders in a wheel are found, but not a module whose name only ends like a test's."""
    own = ["bulkstop/__init__.py", "bulkstop/report/latest.py", "bulkstop-0.1.0.dist-info/METADATA"]
    strays = ["tests/test_x.py", "bulkstop/tests/x.py", "bulkstop/test_x.py", "bulkstop/conftest.py", "samples/a.csv"]
    assert find_strays(make_wheel(tmp_path, *own, *strays)) == strays


def test_other_bytes(tmp_path: Path) -> None:
    """Files that differ between two builds are named, and so is one that only one of them has."""
    paths = [tmp_path / folder / name for folder in "ab" for name in ("same", "other", folder)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("" if path.name == "same" else path.parent.name)
    assert set(compare(paths[:1], paths[3:4])) == {"same"}
    with pytest.raises(ReleaseError, match=r"^two builds of one commit gave other bytes: a, b, other$"):
        compare(paths[:3], paths[3:])


def test_choice_of_pythons() -> None:
    """The oldest that is allowed and the newest that is here are chosen; without the oldest it says what there is."""
    found = {(3, minor): Path(f"python3.{minor}") for minor in (9, 11, 12, 13)}
    assert [version for version, _ in choose_pythons(found, ">=3.11")] == [(3, 11), (3, 13)]
    assert [version for version, _ in choose_pythons({(3, 11): Path("x")}, ">=3.11")] == [(3, 11)]
    with pytest.raises(ReleaseError, match=r"^there is no Python 3\.10 here, .*; found: 3\.9, 3\.11, 3\.12, 3\.13$"):
        choose_pythons(found, ">=3.10")


@pytest.mark.real
def test_pythons_here(tmp_path: Path) -> None:
    """An interpreter on the PATH is found by what it says; one that does not work, or is no program, is passed by."""
    for name, text in {"python3.50": "#!/bin/sh\necho 3 50 final\n", "python3.51": "#!/bin/sh\nexit 127\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python3.52").write_text("")
    found = find_pythons({"PATH": str(tmp_path), "PYENV_ROOT": str(tmp_path)})
    assert found == {HERE: Path(sys.executable), (3, 50): tmp_path / "python3.50"}


@pytest.mark.real
def test_failing_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tool's output is shown, and the one line names the command and its exit code."""
    with pytest.raises(ReleaseError, match=r"^`sh -c echo why; exit 3` ended with 3; what it said stands above$"):
        run("sh", "-c", "echo why; exit 3", cwd=tmp_path)
    assert capsys.readouterr().err == "why\n\n"


def test_version(tmp_path: Path) -> None:
    """A version that CHANGELOG.md does not know ends the check."""
    (tmp_path / "bulkstop").mkdir()
    (tmp_path / "CHANGELOG.md").write_text((ROOT / "CHANGELOG.md").read_text())
    (tmp_path / "bulkstop" / "version.py").write_text('__version__ = "99.0.0"\n')
    with pytest.raises(ReleaseError, match=r"^CHANGELOG\.md: version 99\.0\.0 of bulkstop/version\.py is neither "):
        read_version(tmp_path)


@pytest.mark.full
def test_really(tmp_path: Path) -> None:
    """The tree builds to the same bytes under another name and umask, with a wheel of the package alone."""
    tools = tmp_path / "tools"
    subprocess.run([sys.executable, "-m", "venv", tools], check=True)
    pins = (ROOT / "release" / "requirements.txt").read_text().split()
    needed = [pin for pin in pins if pin.startswith(("build==", "hatchling=="))]
    subprocess.run([tools / "bin" / "pip", "--quiet", "--disable-pip-version-check", "install", *needed], check=True)
    repository = tmp_path / "repository"
    subprocess.run(["git", "clone", "--quiet", ROOT, repository], check=True)
    python = str(tools / "bin" / "python")
    first = build(repository, tmp_path / "first", umask=0o022, python=python)
    second = build(repository, tmp_path / "second", umask=0o077, python=python)
    assert [name.rpartition(".")[2] for name in compare(first, second)] == ["whl", "gz"]
    assert find_strays(next(path for path in first if path.suffix == ".whl")) == []
