"""The changelog knows the version that the code says it is."""

import re
from pathlib import Path

import beacond

ROOT = Path(__file__).resolve().parents[2]


def test_changelog_opens_with_unreleased_and_knows_our_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert beacond.__version__ in headings
