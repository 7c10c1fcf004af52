"""What is said of the project in more than one place is said in the same way."""

import re

import pytest

import bn_wrapper
from tests.helpers import PROJECT

CITATION = (PROJECT / "CITATION.cff").read_text()


def cited(field):
    """What the citation says of a field, on a line of its own."""
    (value,) = re.findall(
        rf"^(?:  - )?{field}: (\S.*)$", CITATION.partition("references:")[0], re.M
    )
    return value


def test_the_citation_has_the_version_of_the_files_and_of_the_changelog():
    changes = (PROJECT / "CHANGELOG.md").read_text()
    version, state = re.findall(r"^## (\d+\.\d+\.\d+)(.*)$", changes, re.M)[0]
    assert cited("version") == bn_wrapper.__version__ == version
    assert state in ("", ", unreleased")
    assert ("date-released: " in CITATION) == (state == "")
    assert ("not released yet" in CITATION) == (state != "")


def test_the_project_has_one_name_and_one_author():
    title = cited("title")
    assert (PROJECT / "README.md").read_text().startswith(f"# {title}\n")
    package = (PROJECT / "pyproject.toml").read_text()
    assert f'name = "{title.lower().replace(" ", "-")}"' in package
    assert f'authors = [{{ name = "{cited("name")}" }}]' in package


@pytest.mark.parametrize(
    "document", sorted((PROJECT / "docs").rglob("*.md")), ids=lambda path: path.name
)
def test_the_tests_that_a_document_names_are_there(document):
    text = document.read_text()
    for file in re.findall(r"`((?:system/)?test_\w+\.py)", text):
        assert (PROJECT / "tests" / file).is_file(), file
    written = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^def (test_\w+)", written, re.M))
    named = set(re.findall(r"\b(test_\w+)\b(?!\.py)", text))
    assert named <= defined


def test_no_best_rate_of_a_study_is_the_lowest_or_highest_tried():
    """As the page of the claims says."""
    for report in (PROJECT / "docs" / "results").glob("*/report.md"):
        assert "at the edge of the grid" not in report.read_text(), report


def test_the_figures_of_the_claims_are_in_the_reports_that_they_name():
    results = PROJECT / "docs" / "results"
    claims = [line for line in (results / "claims.md").read_text().splitlines() if line[:2] == "| "]
    assert len(claims) > 12
    for claim in claims[2:]:
        reports = [results / name for name in re.findall(r"\((\S+/report\.md)\)", claim)]
        texts = [report.read_text() for report in reports]
        number = r"-?\d+(?:\.\d+)?(?:e-\d+)?"
        figures = re.findall(f"{number} ± {number}", claim)
        assert texts and figures, claim
        for figure in figures:
            assert any(f"| {figure} (" in text for text in texts), f"{figure} in\n{claim}"
