"""Build the last commit twice, check what was built, and install it where nothing else is: `make release-check`.

What passed lies in `dist/` in the end. Each step is a line; the first that fails says what is wrong, and
ends it with exit code 1.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from zipfile import ZipFile

from release.changelog import find_faults

ROOT = Path(__file__).resolve().parent.parent
UMASKS = (0o022, 0o077)
"""Each of the two builds has one of its own, a folder of its own, and another time: none of them may be seen in it."""
PythonVersion = tuple[int, int]


class ReleaseError(Exception):
    """What keeps a release from being shipped, in one line."""


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None, umask: int = -1) -> str:
    """Run a command to its end; return what it said."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=env,
        umask=umask,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        words = " ".join(map(str, command))
        raise ReleaseError(f"`{words}` ended with {done.returncode}; what it said stands above")
    return done.stdout


# -- what is built -----------------------------------------------------------------------------------------------------


def read_version(clone: Path) -> str:
    """Read the version of the package, which CHANGELOG.md must agree with."""
    match = re.search(r'^__version__ = "(\d+\.\d+\.\d+)"$', (clone / "bulkstop/version.py").read_text(), re.MULTILINE)
    if match is None:
        raise ReleaseError('bulkstop/version.py has no line `__version__ = "1.2.3"`')
    for fault in find_faults((clone / "CHANGELOG.md").read_text(), match[1]):
        raise ReleaseError(f"CHANGELOG.md: {fault}")
    return match[1]


def build(repository: Path, folder: Path, *, umask: int, python: str = sys.executable) -> list[Path]:
    """Build sdist and wheel of the last commit, from a clone of its own in that folder."""
    run("git", "clone", "--quiet", repository, folder, cwd=repository, umask=umask)
    made_at = run("git", "log", "-1", "--format=%ct", cwd=folder).strip()
    env = {**os.environ, "SOURCE_DATE_EPOCH": made_at}
    run(python, "-m", "build", "--no-isolation", cwd=folder, env=env, umask=umask)
    return sorted((folder / "dist").iterdir())


def compare(first: Iterable[Path], second: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file that was built, by its name, if both builds gave the same bytes."""
    one, two = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths} for paths in (first, second)
    )
    if one != two:
        names = ", ".join(sorted({name for name, _ in one.items() ^ two.items()}))
        raise ReleaseError(f"two builds of one commit gave other bytes: {names}")
    return one


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def find_strays(wheel: Path) -> list[str]:
    """List what a wheel holds that is neither the package nor its metadata: tests, benchmarks, samples."""
    own = re.compile(r"bulkstop(-[\d.]+\.dist-info)?/")
    tests = re.compile(r"(^|/)(tests?(_|/)|conftest\.py)")
    return [name for name in ZipFile(wheel).namelist() if not own.match(name) or tests.search(name)]


# -- where it is installed ---------------------------------------------------------------------------------------------


def find_pythons(env: Mapping[str, str]) -> dict[PythonVersion, Path]:
    """Find the interpreters of this machine, by version: this one, those on the PATH, and those of pyenv."""
    folders = [Path(folder) for folder in env.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(env.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [Path(sys.executable)]
    for folder in [*folders, *sorted(pyenv.glob("versions/*/bin"))]:
        candidates += sorted(path for path in folder.glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name))
    found = dict[PythonVersion, Path]()
    for candidate in candidates:
        if (version := _ask_version(candidate)) is not None:
            found.setdefault(version, candidate)
    return found


def _ask_version(python: Path) -> PythonVersion | None:
    """Return the version of an interpreter that can make environments; a shim of pyenv may stand for none."""
    script = "import ensurepip, sys, venv; print(*sys.version_info[:2], sys.version_info.releaselevel)"
    try:
        done = subprocess.run([python, "-I", "-c", script], capture_output=True, text=True, check=False)
    except OSError:
        return None
    match = re.fullmatch(r"(\d+) (\d+) final\n", done.stdout)
    return (int(match[1]), int(match[2])) if match else None


def choose_pythons(found: Mapping[PythonVersion, Path], requires: str) -> list[tuple[PythonVersion, Path]]:
    """Choose the oldest interpreter that the package allows, and the newest that is here."""
    match = re.fullmatch(r">=3\.(\d+)", requires)
    if match is None:
        raise ReleaseError(f"pyproject.toml: requires-python is {requires!r}; this check knows `>=3.N` alone")
    oldest = (3, int(match[1]))
    if oldest not in found:
        here = ", ".join(f"3.{minor}" for _, minor in sorted(found)) or "none"
        raise ReleaseError(f"there is no Python 3.{oldest[1]} here, the oldest that is supported; found: {here}")
    return [(version, found[version]) for version in sorted({oldest, max(found)})]


def try_out(python: Path, built: Path, samples: Path, folder: Path, version: str) -> None:
    """Install what was built into a new environment, and run the demo with nothing else of this project in reach."""
    run(python, "-m", "venv", folder / "env", cwd=folder)
    own = folder / "env/bin"
    pip = (own / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", built, cwd=folder)
    run(*pip, "check", cwd=folder)
    shutil.copytree(samples, folder / "samples")
    env = _clean(os.environ, own)
    where = run(own / "python", "-c", "import bulkstop; print(bulkstop.__file__)", cwd=folder, env=env).strip()
    if not Path(where).is_relative_to(folder / "env"):
        raise ReleaseError(f"{built.name}: the package was imported from {where}, not from the new environment")
    said = run("bulkstop", "--version", cwd=folder, env=env).strip()
    if said.split()[-1] != version:
        raise ReleaseError(f"{built.name}: `bulkstop --version` says {said!r}, not {version}")
    run("sh", "samples/demo.sh", cwd=folder, env=env)
    run("bulkstop", "report", "demo.results.jsonl", "--check", cwd=folder, env=env)


def _clean(env: Mapping[str, str], programs: Path) -> dict[str, str]:
    """Return an environment in which Python finds what is installed, and nothing else."""
    kept = {name: text for name, text in env.items() if not name.startswith(("PYTHON", "BULKSTOP_", "VIRTUAL_ENV"))}
    return {**kept, "PATH": f"{programs}{os.pathsep}{env['PATH']}"}


# -- all of it ---------------------------------------------------------------------------------------------------------


def check(repository: Path, folder: Path) -> Iterator[str]:
    """Do all of it, and yield a line for each step that has passed."""
    first, second = (build(repository, folder / f"clone{umask:o}", umask=umask) for umask in UMASKS)
    clone = folder / f"clone{UMASKS[0]:o}"
    version = read_version(clone)
    yield f"bulkstop {version}; CHANGELOG.md agrees"
    for name, digest in compare(first, second).items():
        yield f"{name}: the same bytes twice, SHA-256 {digest}"
    run(sys.executable, "-m", "twine", "check", "--strict", *first, cwd=folder)
    yield "twine check --strict: passed"
    sdist, wheel = sorted(first, key=lambda path: path.suffix == ".whl")
    if strays := find_strays(wheel):
        raise ReleaseError(f"{wheel.name} holds what is not of the package: {', '.join(strays[:5])}")
    yield f"{wheel.name}: holds the package alone, no tests"
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "sdist", filter="data")
    samples = folder / "sdist" / sdist.name.removesuffix(".tar.gz") / "samples"
    requires = tomllib.loads((clone / "pyproject.toml").read_text())["project"]["requires-python"]
    for python_version, python in choose_pythons(find_pythons(os.environ), requires):
        for built in (wheel, sdist):
            name = f"3.{python_version[1]}{built.suffix}"
            (folder / name).mkdir()
            try_out(python, built, samples, folder / name, version)
            yield f"Python 3.{python_version[1]} ({python}): installed {built.name}, and ran the demo from it"
    shutil.copytree(clone / "dist", repository / "dist", dirs_exist_ok=True)
    yield "what passed is in dist/"


def main() -> int:
    """Check the last commit of this repository; return the exit code."""
    began = time.monotonic()
    try:
        if changed := run("git", "status", "--porcelain", cwd=ROOT).splitlines():
            print(f"release-check: {len(changed)} changed files are not committed, and so not in what is checked")
        with tempfile.TemporaryDirectory(prefix="bulkstop-release-") as folder:
            for line in check(ROOT, Path(folder).resolve()):
                print(f"release-check: {line}", flush=True)
    except ReleaseError as error:
        print(f"release-check: {error}", file=sys.stderr)
        return 1
    print(f"release-check: passed in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
