"""apply() leaves what the policy would have written, and touches nothing else of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import EVIDENCE, assert_same, imported, rows, tables

from auditlens.policy import Filter, Policy, Rule, apply, evaluate, load
from auditlens.policy.simulation.filtering import attributes
from auditlens.policy.simulation.managed import without_managed_fields
from auditlens.records import Record, Reject

from .proof import CAPTURE, needs_captures

SAMPLES = Path(__file__).resolve().parents[2] / "sample-logs" / "kubeadm"
HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
BODY = '{"kind":"Pod","metadata":{"name":"web","managedFields":[{"manager":"kubectl"}]},"cost":1.10,"big":12345678901234567890}'


def event(level: str = "RequestResponse", **fields: Any) -> bytes:
    """A line as the log backend writes it; bodies are JSON text."""
    bodies = {name: fields.pop(name) for name in ("requestObject", "responseObject") if name in fields}
    head = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level, "auditID": "a1", "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/shop/pods/web?a=1", "verb": "update",
        "user": {"username": "alice", "groups": ["system:authenticated"]},
        "objectRef": {"resource": "pods", "namespace": "shop", "name": "web", "apiVersion": "v1"},
        "requestReceivedTimestamp": "2026-11-23T04:56:23.007298Z", "stageTimestamp": "2026-11-23T04:56:23.107298Z",
    } | fields  # fmt: skip
    text = json.dumps(head, separators=(",", ":"))[:-1]
    return (text + "".join(f',"{name}":{body}' for name, body in bodies.items()) + "}").encode()


def left(policy: str, text: bytes, **record: Any) -> bytes | None:
    found = Filter(load(HEAD + policy)).record(Record(text, 1, 0, **record))
    assert not isinstance(found, Reject)
    return None if found is None else found.text


def test_an_event_at_its_level_stays_byte_for_byte() -> None:
    line = event(responseObject=BODY).replace(b'"cost"', b' "cost"')
    assert left("rules: [{level: RequestResponse}]", line) == line


def test_a_lower_level_takes_bodies_away_and_says_so() -> None:
    line = event(requestObject=BODY, responseObject="[1.10]")
    assert left("rules: [{level: Request}]", line) == event("Request", requestObject=BODY)
    assert left("rules: [{level: Metadata}]", line) == event("Metadata")


def test_a_level_is_never_raised() -> None:
    assert left("rules: [{level: RequestResponse}]", event("Metadata")) == event("Metadata")


@pytest.mark.parametrize(
    "policy",
    [
        "rules: [{level: None}]",
        "rules: [{level: Metadata, verbs: [get]}]",
        "omitStages: [ResponseComplete]\nrules: [{level: Metadata}]",
        "rules: [{level: Metadata, omitStages: [ResponseComplete]}]",
    ],
)
def test_what_would_not_be_written_is_dropped(policy: str) -> None:
    assert left(policy, event()) is None


def test_managed_fields_go_and_numbers_stay_as_they_are() -> None:
    policy = "omitManagedFields: true\nrules: [{level: RequestResponse}]"
    text = left(policy, event(requestObject=BODY, responseObject=BODY))
    assert text is not None
    assert b"managedFields" not in text
    assert text.count(b'"cost":1.10') == text.count(b'"big":12345678901234567890') == 2
    patch = event(verb="patch", requestObject=BODY)
    assert left(policy, patch) == patch


def test_managed_fields_go_from_lists_and_tables() -> None:
    items = b'{"kind":"PodList","items":[%s,{"metadata":{"name":"b"}}]}' % BODY.encode()
    assert without_managed_fields(items) == items.replace(b',"managedFields":[{"manager":"kubectl"}]', b"")
    rows = b'{"kind":"Table","rows":[{"cells":[1.0],"object":%s}]}' % BODY.encode()
    assert without_managed_fields(rows) == rows.replace(b',"managedFields":[{"manager":"kubectl"}]', b"")
    for odd in (None, b"[1]", b'"managedFields"', b'{"managedFields"', b'{"metadata":["managedFields"],"x":"managedFields"}'):
        assert without_managed_fields(odd) == odd


def test_patches_of_webhooks_are_in_annotations_from_request_on() -> None:
    annotations = {"patch.webhook.admission.k8s.io/round_0_index_0": "{}", "authorization.k8s.io/decision": "allow"}
    line = event("Request", annotations=annotations)
    assert left("rules: [{level: Request}]", line) == line
    kept = json.loads(left("rules: [{level: Metadata}]", line) or b"")
    assert kept["annotations"] == {"authorization.k8s.io/decision": "allow"}


def test_items_of_lists_and_legacy_lines_become_events_of_v1(tmp_path: Path) -> None:
    item = json.loads(event("Metadata"))
    del item["kind"], item["apiVersion"]
    log = tmp_path / "in.log"
    listed = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": [item, item | {"verb": "get"}]}
    legacy = (
        '2026-11-23T04:56:23.123456Z AUDIT: id="5c3b8227-4af9-4322-8a71-542231c3887b" stage="ResponseComplete" ip="127.0.0.1" '
        'method="get" user="admin" groups="\\"system:authenticated\\"" as="<self>" asgroups="<lookup>" user-agent="x" '
        'namespace="default" uri="/api/v1/namespaces/default/pods" response="200"'
    )
    log.write_text(json.dumps(listed) + "\n" + legacy + "\nI1123 04:56:23.000000       1 httplog.go:90] hello\n")
    done = apply(load(HEAD + "rules: [{level: Metadata}]"), [log], tmp_path / "out.jsonl.gz")
    lines = [json.loads(line) for line in gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()).splitlines()]
    assert [line["kind"] for line in lines] == ["Event"] * 3
    assert all(line["apiVersion"] == "audit.k8s.io/v1" for line in lines)
    assert (done.records, done.kept + done.reduced, done.others) == (4, 3, 1)


def test_a_cut_event_stays_cut_and_keeps_no_body_it_must_not() -> None:
    whole = event(requestObject='{"data":{"password":"geheim","x":"y"}}')
    cut = whole[: whole.index(b"geheim") + 3]
    text = left("rules: [{level: Metadata}]", cut, cut=True)
    assert text is not None
    assert b"geh" not in text
    assert not text.endswith(b"}}")
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


def test_a_record_nobody_can_read_is_a_reject() -> None:
    assert isinstance(Filter(Policy(rules=(Rule(level="Metadata"),))).record(Record(b"{nonsense", 1, 0)), Reject)


def test_the_policy_sees_what_it_saw_then() -> None:
    head = json.loads(event(verb="create", objectRef={"resource": "pods", "namespace": "shop", "name": "from-the-body"}))
    assert attributes(head).name == ""
    head = json.loads(event(objectRef=None, requestURI="/healthz%2Fx?timeout=1s", verb="get", user={}))
    seen = attributes(head)
    assert (seen.path, seen.user, seen.resource_request) == ("/healthz/x", None, False)
    assert evaluate(load(HEAD + "rules: [{level: Metadata, userGroups: [system:authenticated]}]"), seen).level == "None"


def test_nothing_is_left_of_a_file_that_could_not_be_finished(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="missing"):
        apply(load(HEAD + "rules: [{level: Metadata}]"), [tmp_path / "missing.log"], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@needs_captures
def test_everything_kept_is_the_log_itself(tmp_path: Path) -> None:
    done = apply(load(HEAD + "rules: [{level: RequestResponse}]"), [CAPTURE], tmp_path / "out.log")
    assert (tmp_path / "out.log").read_bytes() == gzip.decompress(CAPTURE.read_bytes())
    assert done.kept == done.records == 7457


def test_a_batch_of_the_import_is_filtered_like_the_log(tmp_path: Path) -> None:
    import pyarrow as pa

    from auditlens.importing.batches import SourceReader
    from auditlens.importing.transform import Source
    from auditlens.records import Chunk

    data = b"".join(line + b"\n" for line in (event(requestObject=BODY), event("Metadata", verb="get"), event(auditID="c")))
    pieces = SourceReader(Source("a.log", "a", "id")).pieces([Chunk(data, 1, 0)])
    lines = pa.concat_tables(piece.lines for piece in pieces)
    done = Filter(load(HEAD + "rules: [{level: None, verbs: [get]}, {level: Metadata}]")).table(lines)
    assert done.schema == lines.schema
    assert done["line"].to_pylist() == [1, 3]
    assert [json.loads(text)["level"] for text in done["text"].to_pylist()] == ["Metadata", "Metadata"]
    assert "requestObject" not in done["text"].to_pylist()[0]


def test_an_import_through_a_policy_is_an_import_of_what_the_policy_leaves(tmp_path: Path) -> None:
    policy = load(HEAD + "rules: [{level: None, verbs: [get]}, {level: Metadata, resources: [{group: apps}]}, {level: Request}]")
    reduced, before = tmp_path / "reduced.log", tmp_path / "before"
    applied = apply(policy, [SAMPLES], reduced)
    imported(before, reduced)
    (report,) = [imported(tmp_path / "lake", SAMPLES, keep=Filter(policy)).total()]
    assert (report["records"], report["dropped"]) == (applied.records, applied.dropped)
    assert_same(tables(tmp_path / "lake", without=EVIDENCE), tables(before, without=EVIDENCE), only=("audit", "audit_objects"))


def test_after_an_import_through_a_policy_the_whole_log_is_news(tmp_path: Path) -> None:
    keep = Filter(load(HEAD + "rules: [{level: None, verbs: [get, list, watch]}, {level: Metadata}]"))
    lake, whole = tmp_path / "lake", tmp_path / "whole"
    first = imported(lake, SAMPLES, keep=keep).total()
    assert first["dropped"] and first["rows"]["audit"] == first["records"] - first["dropped"] - first["rejects"]
    again = imported(lake, SAMPLES, keep=keep).total()
    assert (again["rows"]["audit"], again["dropped"]) == (0, first["dropped"])
    imported(lake, SAMPLES)
    imported(whole, SAMPLES)
    assert_same(tables(lake, without=EVIDENCE), tables(whole, without=EVIDENCE), only=("audit", "audit_objects"))
    assert rows(lake, "select count(distinct policy), count(*) filter (policy is null) > 0 from imports") == [(1, True)]
