"""Findings as text for people, JSON for programs, SARIF 2.1.0 for code hosts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from auditlens.policy.apiserver.errors import Position, place
from auditlens.policy.lint.registry import Finding, checks

__all__ = ["as_json", "as_sarif", "as_text"]

_SARIF_LEVEL: Final = {"error": "error", "warning": "warning", "info": "note"}


def as_text(findings: Iterable[Finding]) -> str:
    """One finding per paragraph: place, severity, id and message, then why it matters and what to do; "" for none.

    Control characters out of the policy are shown as escapes: they could fool a terminal.
    """
    lines = []
    for finding in findings:
        head = f"{place(finding.file, Position(finding.line, finding.column))}: {finding.severity} {finding.id}"
        lines += [
            f"{_safe(head)} {_safe(finding.message)}",
            f"    why: {finding.why}",
            f"    fix: {_safe(finding.fix)}",
        ]
    return "".join(f"{line}\n" for line in lines)


def as_json(findings: Sequence[Finding]) -> str:
    """A JSON array with one object per finding, its keys those of Finding."""
    return json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False) + "\n"


def as_sarif(findings: Sequence[Finding]) -> str:
    """A SARIF 2.1.0 log with every check as a rule, found or not."""
    rules = checks()
    number = {rule.id: index for index, rule in enumerate(rules)}
    driver = {
        "name": "auditlens",
        "rules": [
            {
                "id": rule.id,
                "name": "".join(word.capitalize() for word in rule.title.replace("-", " ").split()),
                "shortDescription": {"text": rule.title},
                "fullDescription": {"text": rule.why},
                "defaultConfiguration": {"level": _SARIF_LEVEL[rule.severity]},
            }
            for rule in rules
        ],
    }
    results = [_result(finding, number[finding.id]) for finding in findings]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _result(finding: Finding, number: int) -> dict[str, Any]:
    location: dict[str, Any] = {"region": {"startLine": finding.line, "startColumn": finding.column}}
    if finding.file:
        location["artifactLocation"] = {"uri": _uri(finding.file)}
    return {
        "ruleId": finding.id,
        "ruleIndex": number,
        "level": _SARIF_LEVEL[finding.severity],
        "message": {"text": f"{finding.message}. {finding.why} {finding.fix}"},
        "locations": [{"physicalLocation": location}],
    }


def _uri(path: str) -> str:
    from urllib.parse import quote

    return quote(path.replace("\\", "/"))


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
