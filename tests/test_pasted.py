"""Events as people paste them: what was left out or blackened costs itself, not the event."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SHARED, auditlens, event, imported, rows, write

LEFT_OUT = """{
  "kind": "Event",
  "apiVersion": "audit.k8s.io/v1",
  "level": "Metadata",
  "auditID": "p1",
  "stage": "ResponseComplete",
  "requestURI": "/api/v1/namespaces/shop/pods/web...",
  "verb": "delete",
  "user": {
    "username": "alice",
    "extra": {
      .....
    }
  },
  "sourceIPs": [ "XX", ... ],
  "objectRef": { "resource": "pods", "namespace": "shop", "name": "web", "apiVersion": "v1" },
  "requestReceivedTimestamp": "XX",
  ...
}
"""


def test_dots_for_what_was_left_out(tmp_path: Path) -> None:
    imported(tmp_path / "lake", write(tmp_path / "a.json", LEFT_OUT.encode()))
    found = rows(tmp_path / "lake", "select username, verb, name, source_ips, request_uri, partial, stage_time from audit")
    assert found == [("alice", "delete", "web", ["XX"], "/api/v1/namespaces/shop/pods/web...", True, None)]


def test_a_lake_of_events_without_times_is_not_said_to_hold_none(tmp_path: Path) -> None:
    made = event(1, requestReceivedTimestamp="XX", stageTimestamp="XX", verb="delete")
    source = write(tmp_path / "a.log", [made])
    lake = tmp_path / "lake"
    said = auditlens("import", source, "--lake", lake).stdout.decode()
    assert "the lake holds 1 audit events, none of which has a time that can be read; clusters: default" in said
    assert "no audit events" not in said
    assert b"alice" in auditlens("ask", "requests", "--lake", lake).stdout
    assert b"no audit events" not in auditlens("ask", "denied", "--lake", lake).stderr


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared field cases are not here")
def test_the_pasted_event_of_the_field(tmp_path: Path) -> None:
    imported(tmp_path / "lake", SHARED / "field" / "27-argocd-23723-redacted")
    found = rows(tmp_path / "lake", "select username, verb, name, partial from audit order by audit_id")
    user = "system:serviceaccount:some-argo-cd-namespace:argocd-applicationset-controller"
    assert found == [(user, "update", "name-of-my-appset", True), ("alice", "delete", "p", False)]
