"""Files from many programs: each has the rows in the table of this folder."""

from pathlib import Path

import pytest

from tests.source.forms.cases import FILES, Case, read_table
from tests.source.forms.rows import differences, outcome_of

CASES = read_table()


def test_every_file_has_its_rows() -> None:
    """Each file of this folder is in the table, and each entry without a text is a file."""
    without_text = {case.name for case in CASES.values() if not case.lines}
    assert without_text - {"ids-nothing.txt"} == {path.name for path in FILES.iterdir()}


@pytest.mark.parametrize("case", [pytest.param(case, id=key) for key, case in CASES.items()])
def test_rows(case: Case, tmp_path: Path) -> None:
    """Each row is what the table says, at its line, and no row is missing."""
    path = tmp_path / case.name
    path.write_bytes(case.content())
    assert differences(outcome_of(path, case.options), case.rows) == []
