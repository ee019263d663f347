from __future__ import annotations

import json

import pytest

from dropdeploy.cli.check import in_order
from dropdeploy.cli.check.findings import Finding, denied, exit_code, good, poor, wrong
from dropdeploy.cli.refusal import ExitCode

GOOD, POOR, WRONG, DENIED = (make("shop", "what") for make in (good, poor, wrong, denied))


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([], ExitCode.DONE),
        ([GOOD, POOR], ExitCode.DONE),
        ([GOOD, DENIED], ExitCode.UNAVAILABLE),
        ([DENIED, WRONG], ExitCode.USAGE),
    ],
)
def test_exit_code(findings: list[Finding], code: ExitCode) -> None:
    assert exit_code(findings) == code


@pytest.mark.parametrize("finding", [GOOD, POOR, WRONG, DENIED])
def test_a_finding_comes_back_from_the_agents_place_as_it_was(finding: Finding) -> None:
    assert Finding.from_json(json.loads(json.dumps(finding.as_json()))) == finding


def test_what_is_about_one_subject_stands_together() -> None:
    other = good("other", "what")
    assert in_order(iter([GOOD, other, DENIED])) == [GOOD, DENIED, other]
