"""Files as people have them: each comes out as the table of this folder says."""

from pathlib import Path

import pytest

from tests.source.forms.cases import FILES, Case, read_table
from tests.source.forms.rows import differences, outcome_of

CASES = read_table()
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


def test_every_file_has_its_rows() -> None:
    """Each file of this folder stands in the table, and what stands there without a text is a file."""
    names = {case.name for case in CASES.values()}
    assert {path.name for path in FILES.iterdir()} <= names
    assert all(case.rows or case.lines for case in CASES.values() if not (FILES / case.name).exists())


@pytest.mark.parametrize("case", [pytest.param(case, id=key) for key, case in CASES.items()])
def test_rows(case: Case, tmp_path: Path) -> None:
    """Each row is what the table says, at its line, and no row is missing."""
    path = tmp_path / case.name
    path.write_bytes(case.content())
    assert differences(outcome_of(path, case.options), case.rows) == []
