"""The page on DICOM names a test for each of its rows, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = REPOSITORY / "docs" / "dicom.md"
ROWS = [
    line
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not re.match(r"\| (what|syntax|fault) \|", line)
]


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_every_row_names_tests_that_exist(row) -> None:
    named = re.findall(r"`([\w/]*test_\w+\.py)::(\w+)`", row)
    assert named, "a row without a proof"
    for file, function in named:
        path = REPOSITORY / file if "/" in file else Path(__file__).with_name(file)
        assert path.is_file() and function in functions_of(path), f"{file}::{function}"


def test_the_page_has_its_tables() -> None:
    assert len(ROWS) > 60
