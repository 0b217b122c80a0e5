"""History of an object: of one user beside what others did, and without the noise of controllers on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import event, write

from auditlens import ask, import_files
from auditlens.cli.asking import run
from auditlens.forensics.history import brief

DEPLOY = {"resource": "deployments", "apiGroup": "apps", "apiVersion": "v1", "namespace": "shop", "name": "web"}
CONTROLLER = {"username": "system:serviceaccount:kube-system:deployment-controller"}


def deployment(replicas: int, version: int, ready: int = 0) -> dict[str, Any]:
    meta = {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": str(version)}
    return {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": meta,
        "spec": {"replicas": replicas},
        "status": {"ready": ready},
    }


def wrote(n: int, user: str | dict[str, Any], verb: str, after: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    who = user if isinstance(user, dict) else {"username": user, "groups": ["dev"]}
    ref = {**DEPLOY, "subresource": more.pop("subresource", None)}
    uri = "/apis/apps/v1/namespaces/shop/deployments/web"
    code = {"responseStatus": {"metadata": {}, "code": more.pop("code", 200)}}
    return event(n, verb=verb, user=who, requestURI=uri, responseObject=after, **code,
                 objectRef={k: v for k, v in ref.items() if v}, **more)  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    base = tmp_path_factory.mktemp("history")
    events = [
        wrote(1, "alice", "create", deployment(1, 10), code=201),
        wrote(2, CONTROLLER, "update", deployment(1, 11, 1), subresource="status"),
        wrote(3, "bob", "update", deployment(5, 12, 1)),
        wrote(4, CONTROLLER, "update", None, subresource="status", code=409),
        wrote(5, CONTROLLER, "update", deployment(5, 13, 5), subresource="status"),
        wrote(6, "alice", "update", deployment(7, 14, 5)),
        wrote(7, "eve", "update", deployment(7, 15, 0), subresource="status"),
        wrote(8, CONTROLLER, "update", None, subresource="status", code=403),
        wrote(9, "admin", "update", deployment(9, 16, 0), impersonatedUser={"username": "dave"}),
    ]
    import_files([write(base / "audit.log", events)], base / "lake")
    return str(base / "lake")


def test_what_a_user_did_is_told_beside_what_others_did_before(lake: str) -> None:
    everything = ask(lake, "history", "deploy/web").frame
    assert everything.filter(everything["username"] == "alice")["changed"].to_list() == ["created", "spec.replicas 5 → 7"]
    own = ask(lake, "history", "deploy/web", user="alice")
    assert own.frame["changed"].to_list() == ["created", "spec.replicas 5 → 7"] and own.total == 2
    assert ask(lake, "history", "deploy/web", user="b*").frame["changed"].to_list() == ["spec.replicas 1 → 5"]
    assert ask(lake, "history", "deploy/web", user="alice", limit=1).total == 2, "counted without the others"
    for name in ("admin", "dave"):  # who authenticated, and as whom
        assert ask(lake, "history", "deploy/web", user=name).frame["username"].to_list() == ["dave"]
    assert "the log has no user alise; near names: alice" in ask(lake, "history", "deploy/web", user="alise").notes


def test_controllers_writes_of_status_are_one_line(lake: str) -> None:
    frame = ask(lake, "history", "deploy/web").frame
    kept, told = brief(frame)
    assert kept.columns == frame.columns
    assert kept.select("username", "subresource", "outcome").rows() == [
        ("alice", None, "created"), ("bob", None, "ok"), ("alice", None, "ok"), ("eve", "status", "ok"),
        (CONTROLLER["username"], "status", "forbidden"), ("dave", None, "ok"),
    ]  # fmt: skip
    assert told.startswith("3 of 9 requests are writes of status by deployment-controller, ") and told.endswith(
        ": --all shows them"
    )
    assert brief(kept) == (kept, ""), "nothing is left out without a word"


def test_renewals_of_leases_are_one_line(tmp_path: Path) -> None:
    ref = {
        "resource": "leases",
        "apiGroup": "coordination.k8s.io",
        "apiVersion": "v1",
        "namespace": "kube-system",
        "name": "scheduler",
    }
    uri = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/scheduler"
    user = {"username": "system:kube-scheduler"}
    events = [event(n, verb="create" if n == 0 else "update", objectRef=ref, requestURI=uri, user=user) for n in range(5)]
    import_files([write(tmp_path / "audit.log", events)], tmp_path / "lake")
    kept, told = brief(ask(str(tmp_path / "lake"), "history", "lease/scheduler").frame)
    assert kept["verb"].to_list() == ["create"]
    assert told.startswith("4 of 5 requests are renewals of leases by kube-scheduler, ")


def test_only_a_terminal_gets_fewer_rows(lake: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["history", "deploy/web", "--lake", lake]
    assert run([*asked, "-o", "csv"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 10 and "--all" not in err
    from test_terminal import on_a_terminal

    assert "3 of 9 requests are writes of status" in on_a_terminal(100, 50, *asked)
    assert on_a_terminal(200, 50, *asked).count("deployment-controller") == 2, "the refused one, and the line about the others"
    everything = on_a_terminal(200, 50, *asked, "--all")
    assert everything.count("deployment-controller") == 4 and "--all" not in everything
