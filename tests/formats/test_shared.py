"""Captures of a real control plane and other projects' files: every line is accounted for, every reject is right."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from auditlens.formats.event import read_event
from auditlens.records import Event, Record, Reject

from .helpers import SHARED, read_all

CAPTURES, PEERS, SAMPLE_FILES = SHARED / "captures", SHARED / "peers", SHARED / "samples"

pytestmark = pytest.mark.skipif(not CAPTURES.is_dir(), reason="the shared captures are not here")


def content(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def results(data: bytes) -> tuple[list[Record], list[Event], Counter[str]]:
    """(log entries, events, how often each reason)."""
    entries, events, reasons = [], [], Counter[str]()
    for found in read_all(data)[1]:
        if isinstance(found, Record) and found.format != "audit":
            entries.append(found)
            continue
        event = read_event(found) if isinstance(found, Record) else found
        if isinstance(event, Reject):
            reasons[event.reason] += 1
        else:
            events.append(event)
    return entries, events, reasons


def files(folder: Path, *patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in folder.glob(pattern)) if folder.is_dir() else []


AUDIT_LOGS = files(CAPTURES, "*/audit.log*", "webhook/*/audit.log*")
COMPONENT_LOGS = files(CAPTURES, "*/*.log.gz", "webhook/*/apiserver.log.gz")
COMPONENT_LOGS = [path for path in COMPONENT_LOGS if not path.name.startswith("audit")]


@pytest.mark.parametrize("path", AUDIT_LOGS, ids=lambda path: str(path.relative_to(CAPTURES)))
def test_every_line_of_an_audit_log_is_an_event(path: Path) -> None:
    data = content(path)
    entries, events, reasons = results(data)
    assert not reasons
    assert not entries
    assert len(events) == len(data.splitlines())
    assert not any(event.partial for event in events)
    if b" AUDIT: id=" not in data[:200]:
        for line, event in zip(data.splitlines(), events, strict=True):
            wire = json.loads(line)
            bodies = {name: wire.pop(name) for name in ("requestObject", "responseObject") if name in wire}
            assert event.head == {name: value for name, value in wire.items() if name not in ("kind", "apiVersion")}
            assert not event.extra
            for name, body in (("requestObject", event.request_object), ("responseObject", event.response_object)):
                assert (json.loads(body) if body is not None else None) == bodies.get(name)


@pytest.mark.parametrize("path", COMPONENT_LOGS, ids=lambda path: str(path.relative_to(CAPTURES)))
def test_every_line_of_a_component_log_is_part_of_an_entry(path: Path) -> None:
    data = content(path)
    entries, events, reasons = results(data)
    assert not reasons
    headers = sum(line[:1] in b"IWEF" and line[1:5].isdigit() for line in data.splitlines())
    assert len(entries) >= headers
    assert len(events) == sum(b" AUDIT: id=" in line[:60] for line in data.splitlines())
    held = sum(entry.text.count(b"\n") + 1 for entry in entries) + len(events)
    blank_ends = sum(not line.strip() for line in data.splitlines())
    assert held <= len(data.splitlines()) <= held + blank_ends
    for event in events:
        assert {"auditID", "stage", "verb", "requestURI", "requestReceivedTimestamp"} <= event.head.keys()


def test_the_webhooks_items_are_the_lines_of_the_audit_log() -> None:
    def sorted_events(events: list[Event]) -> list[str]:
        return sorted(repr((event.head, event.request_object, event.response_object)) for event in events)

    folder = CAPTURES / "webhook" / "defaults"
    sent: list[Event] = []
    for path in sorted((folder / "raw").iterdir()):
        entries, events, reasons = results(path.read_bytes())
        assert not entries
        assert not reasons
        sent += events
    written = results(content(folder / "audit.log.gz"))[1]
    assert len(sent) == 6328
    missing = Counter(sorted_events(written)) - Counter(sorted_events(sent))
    assert not Counter(sorted_events(sent)) - Counter(sorted_events(written))
    assert missing.total() == 77  # the last ones were lost with the queue


@pytest.mark.parametrize("folder", files(CAPTURES / "webhook", "*"), ids=lambda path: path.name)
def test_captured_requests_hold_only_events(folder: Path) -> None:
    for path in files(folder / "raw", "*.http"):
        data = path.read_bytes()
        entries, events, reasons = results(data)
        assert not entries
        assert not reasons
        assert len(events) == data.count(b'"auditID":"') or data.startswith(b"GET ")


def test_falcos_records_are_events() -> None:
    for path in files(PEERS / "falco-trace_files", "*/*.json*"):
        entries, events, reasons = results(path.read_bytes())
        assert not entries
        if path.name == "fal_01_003.json":
            assert list(reasons) == ["JSON object is not an audit event: kind=0, apiVersion=none"]
        else:
            assert not reasons, path
            assert events


def test_live_events_of_a_cluster_are_events_whatever_their_shape() -> None:
    corpus = PEERS / "gitops-reverser"
    for path in files(corpus, "**/audit-events/*", "**/audit.*.yaml"):
        _, events, reasons = results(path.read_bytes())
        if path.name == "deployment-scale-subresource.json":  # level was left out there
            assert list(reasons) == ["not a complete audit event: no level"]
        else:
            assert not reasons, path
            assert events
    for path in files(corpus, "**/admission.*.yaml", "**/watch.*.yaml"):
        _, events, reasons = results(path.read_bytes())
        assert not events
        assert all(reason.startswith("JSON object is not an audit event") for reason in reasons), path


def test_openshifts_forms_of_a_record() -> None:
    logs = PEERS / "openshift-clo" / "hack" / "logsamples"
    for name in (
        "raw_audit_kubernetes",
        "raw_audit_oauth-apiserver",
        "raw_audit_openshift",
        "otlp_audit_kube",
        "otlp_audit_openshift",
    ):
        _, events, reasons = results((logs / f"{name}.json").read_bytes())
        assert not reasons
        assert events
    for name in ("viaq_audit_kubernetes", "viaq_audit_openshift"):
        records = read_all((logs / f"{name}.json").read_bytes())[1]
        assert [(r.level, r.cluster) for r in records if isinstance(r, Record)] == [
            ("Metadata", "d24a392b-dd87-4eb8-a1a9-7384423567e3")
        ]
    for name in ("otlp_audit_host", "otlp_audit_ovn", "viaq_audit_host", "viaq_audit_ovn"):  # auditd's and OVN's own logs
        _, events, reasons = results((logs / f"{name}.json").read_bytes())
        assert not events
        assert reasons
    for path in files(PEERS / "openshift-clo" / "test", "**/*.log", "**/log5607_sample.json"):
        _, events, reasons = results(path.read_bytes())
        assert not reasons, path
        assert events


def test_audit2rbacs_events_are_events() -> None:
    _, events, reasons = results((PEERS / "audit2rbac" / "testdata" / "demo.log").read_bytes())
    assert (len(events), reasons) == (37, Counter())


@pytest.mark.parametrize("path", files(SAMPLE_FILES, "*"), ids=lambda path: path.name)
def test_the_sample_files_hold_nothing_unreadable(path: Path) -> None:
    assert not results(path.read_bytes())[2]


@pytest.mark.parametrize("path", files(CAPTURES / "kubectl", "*.stderr"), ids=lambda path: path.name)
def test_a_clients_output_is_entries_and_its_own_messages(path: Path) -> None:
    _, events, reasons = results(path.read_bytes())
    assert not events
    assert set(reasons) <= {"text line of no known format"}
