"""What is missing from a log is found, and a whole log is not accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import auditlens
from auditlens.forensics.completeness import Completeness, completeness
from auditlens.lake import Lake

from .conftest import lines


def kinds(found: Completeness) -> dict[str, int]:
    out: dict[str, int] = {}
    for finding in found.findings:
        out[finding.kind] = out.get(finding.kind, 0) + finding.count
    return out


def test_a_whole_log_has_its_two_lost_events_and_its_start(full: Lake) -> None:
    found = completeness(full)
    assert kinds(found) == {"lost": 2, "restart": 1}
    lost = next(f for f in found.findings if f.kind == "lost")
    assert lost.audit_id and lost.source and lost.line and "configmaps" in lost.what
    assert found.levels is not None and found.events == 7457
    secrets = found.levels.filter(found.levels["resource"] == "secrets")
    assert secrets["request_response"].sum() == 0 and secrets["metadata"].sum() > 0


def test_what_was_cut_out_is_found(make_lake: Callable[..., Lake]) -> None:
    whole = lines("full")
    # two minutes and a half of silence, and the configmap whose versions jump over the cut
    kept = [x for x in whole if not (b'"name":"counter"' in x and b'"verb":"update"' in x and b'"username":"bob"' in x)]
    start = [
        x
        for x in kept
        if b'"requestReceivedTimestamp":"2026-11-23T04:57' not in x and b'"requestReceivedTimestamp":"2026-11-23T04:58:0' not in x
    ]
    found = completeness(make_lake(start, name="cut"))
    counts = kinds(found)
    assert counts.get("gap") == 1 and counts.get("version-jump", 0) >= 1
    gap = next(f for f in found.findings if f.kind == "gap")
    assert gap.first is not None and gap.last is not None and 60 < (gap.last - gap.first).total_seconds() < 75


def test_rejects_truncation_and_repeats_are_counted(make_lake: Callable[..., Lake]) -> None:
    whole = lines("full")[:400]
    truncated = whole[50].replace(b'"annotations":{', b'"annotations":{"audit.k8s.io/truncated":"true",')
    found = completeness(
        make_lake(
            [*whole[:50], truncated, *whole[51:], b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"x"}\n'], whole[:20]
        )
    )
    counts = kinds(found)
    assert counts.get("truncated", 0) == (1 if truncated != whole[50] else 0)
    assert counts.get("duplicates", 0) >= 1 or counts.get("rejects", 0) >= 1


def test_answers_warn_when_the_level_is_too_low(full: Lake) -> None:
    def notes(**params: Any) -> list[str]:
        return auditlens.ask(full, "who-deleted", **params).notes

    assert notes(object="pod/web-1", namespace="shop") == []
    assert any("below RequestResponse" in n for n in notes(object="secret/s1", namespace="doomed"))


def test_windows_of_nothing_say_so(full: Lake) -> None:
    found = completeness(full, since="2027-01-01")
    assert found.events == 0 and any("nothing in this window" in n for n in found.limits)
