"""Objects with several owners, or with owners the log knows little of: the last to go is the cause, and nobody is named by guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auditlens.forensics.why import Chain, why
from auditlens.lake import Lake

from .made import Log, root

GC = "*generic-garbage-collector"
Make = Callable[..., Lake]


def refs(*names: str, kind: str = "ConfigMap", uids: dict[str, str] | None = None) -> dict[str, Any]:
    found = [{"apiVersion": "v1", "kind": kind, "name": n, "uid": (uids or {}).get(n, f"uid-{n}")} for n in names]
    return {"metadata": {"ownerReferences": found}}


def family(*owners: str, logged: tuple[str, ...] | None = None) -> Log:
    """A child and its owners, of which some are in the log."""
    log = Log()
    for name in owners if logged is None else logged:
        log("ann", "create", f"configmaps/{name}", {"data": {}})
    log("ann", "create", "configmaps/child", refs(*owners))
    return log


def child(make: Make, log: Log) -> Chain:
    return why(make(log.lines), "cm/child", namespace="shop", event="delete")


def test_the_last_of_two_owners_is_the_cause(make_lake: Make) -> None:
    log = family("one", "two")
    log.gone("alice", "configmaps/one")
    id = log.gone("bob", "configmaps/two")
    log.gone(GC, "configmaps/child")
    assert root(child(make_lake, log)) == ("bob", id)


def test_as_long_as_one_owner_may_live_nobody_is_named(make_lake: Make) -> None:
    log = family("one", "two")
    log.gone("alice", "configmaps/one")
    log.gone(GC, "configmaps/child")
    chain = child(make_lake, log)
    assert root(chain) is None and any("ConfigMap/two" in x and "last one" in x for x in chain.limits), chain.limits


def test_an_owner_that_went_before_the_log_began_names_nobody(make_lake: Make) -> None:
    log = family("one", "two", logged=("one",))
    log.gone("alice", "configmaps/one")
    log.gone(GC, "configmaps/child")
    assert root(child(make_lake, log)) is None


def test_an_owner_that_was_let_go_of_counts_no_more(make_lake: Make) -> None:
    log = family("one", "two")
    log("zoe", "patch", "configmaps/child", refs("two"), request={"metadata": {"ownerReferences": []}})
    id = log.gone("bob", "configmaps/two")
    log.gone("alice", "configmaps/one")
    log.gone(GC, "configmaps/child")
    assert root(child(make_lake, log)) == ("bob", id)


def test_owners_given_later_count(make_lake: Make) -> None:
    log = family("one")
    log("ann", "create", "configmaps/two", {"data": {}})
    log("zoe", "patch", "configmaps/child", refs("one", "two"))
    log.gone("alice", "configmaps/one")
    id = log.gone("bob", "configmaps/two")
    log.gone(GC, "configmaps/child")
    assert root(child(make_lake, log)) == ("bob", id)


def test_owners_changed_out_of_sight_are_not_relied_on(make_lake: Make) -> None:
    log = family("one", "two")
    log.gone("alice", "configmaps/one")
    log(GC, "patch", "configmaps/child", level="Metadata")
    log.gone("bob", "configmaps/two")
    log.gone(GC, "configmaps/child")
    chain = child(make_lake, log)
    assert root(chain) is None and any("at Request" in x for x in chain.limits)


def test_an_owner_of_the_same_name_made_anew_is_not_the_owner(make_lake: Make) -> None:
    log = family("one")
    id = log.gone("alice", "configmaps/one")
    log("zoe", "create", "configmaps/one", {"data": {}}, uid="uid-anew")
    log.gone("zoe", "configmaps/one", uid="uid-anew")
    log.gone(GC, "configmaps/child")
    assert root(child(make_lake, log)) == ("alice", id)


def test_the_end_of_another_object_of_the_owners_name_names_nobody(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "configmaps/one", {"data": {}}, uid="uid-anew")
    log("ann", "create", "configmaps/child", refs("one"))
    log.gone("zoe", "configmaps/one", uid="uid-anew")
    log.gone(GC, "configmaps/child")
    assert root(child(make_lake, log)) is None


def test_an_owner_is_in_the_same_namespace_or_in_none(make_lake: Make) -> None:
    """One of the same name in another namespace is another object, even where its uid is not recorded."""
    log = Log()
    log("ann", "create", "configmaps/child", refs("one"))
    other = Log("else", first=10)
    other("zoe", "delete", "configmaps/one", level="Metadata")
    log.first = 20
    log.gone(GC, "configmaps/child")
    log.lines += other.lines
    assert root(child(make_lake, log)) is None


def test_an_owner_of_another_cluster_is_another_object(make_lake: Make, tmp_path: Any) -> None:
    from auditlens.importing.files.run import import_files

    log = family("one")
    log.gone(GC, "configmaps/child")
    other = Log(first=2)
    other.gone("zoe", "configmaps/one")
    for cluster, lines in (("a", log.lines), ("b", other.lines)):
        (tmp_path / f"{cluster}.log").write_bytes(b"".join(lines))
        import_files([tmp_path / f"{cluster}.log"], tmp_path / "lake", cluster=cluster)
    assert root(why(tmp_path / "lake", "cm/child", namespace="shop", cluster="a", event="delete")) is None


def test_a_cluster_wide_owner(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "persistentvolumes/one", {"spec": {}})
    log("ann", "create", "configmaps/child", refs("one", kind="PersistentVolume"))
    id = log.gone("bob", "persistentvolumes/one")
    log.gone(GC, "configmaps/child")
    assert root(child(make_lake, log)) == ("bob", id)


def test_an_owner_that_waits_for_its_finalizers_holds_until_it_is_gone(make_lake: Make) -> None:
    """Alice's owner goes last, though she asked first: until carol took its finalizer it held the child."""
    log = Log()
    log("ann", "create", "configmaps/one", {"metadata": {"finalizers": ["x/y"]}})
    log("ann", "create", "configmaps/two", {"data": {}})
    log("ann", "create", "configmaps/child", refs("one", "two"))
    going = {"deletionTimestamp": "2026-11-23T10:00:03Z", "deletionGracePeriodSeconds": 0}
    id = log("alice", "delete", "configmaps/one", {"metadata": {"finalizers": ["x/y"], **going}})
    log.gone("bob", "configmaps/two")
    log("carol", "patch", "configmaps/one", {"metadata": going})
    log.gone(GC, "configmaps/child")
    assert root(child(make_lake, log)) == ("alice", id)


def test_a_foreground_deletion_frees_at_once(make_lake: Make) -> None:
    """Alice's owner waits for the child, so bob's was the last that held it."""
    log = family("one", "two")
    going = {"deletionTimestamp": "2026-11-23T10:00:03Z", "finalizers": ["foregroundDeletion"]}
    log("alice", "delete", "configmaps/one", {"metadata": going}, request={"propagationPolicy": "Foreground"})
    id = log.gone("bob", "configmaps/two")
    log.gone(GC, "configmaps/child")
    log(GC, "patch", "configmaps/one", {"metadata": {**going, "finalizers": []}})
    assert root(child(make_lake, log)) == ("bob", id)


def test_owners_that_go_at_the_same_moment_name_nobody(make_lake: Make) -> None:
    log = family("one", "two")
    log.gone(
        "alice", "configmaps/one", requestReceivedTimestamp="2026-11-23T10:00:03.0Z", stageTimestamp="2026-11-23T10:00:03.9Z"
    )
    log.gone("bob", "configmaps/two", requestReceivedTimestamp="2026-11-23T10:00:03.1Z", stageTimestamp="2026-11-23T10:00:03.8Z")
    log.gone(GC, "configmaps/child")
    chain = child(make_lake, log)
    assert root(chain) is None and any("alice" in x and "bob" in x for x in chain.limits), chain.limits


def test_a_collection_ends_owners(make_lake: Make) -> None:
    log = family("one", "two")
    items = [{"metadata": {"name": n, "namespace": "shop", "uid": f"uid-{n}"}} for n in ("one", "two")]
    answer = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "900"}, "items": items}
    id = log(
        "bob",
        "deletecollection",
        "configmaps/x",
        answer=answer,
        objectRef={"resource": "configmaps", "namespace": "shop", "apiVersion": "v1"},
    )
    log.gone(GC, "configmaps/child")
    assert root(child(make_lake, log)) == ("bob", id)


def test_a_collection_without_its_items_names_nobody(make_lake: Make) -> None:
    log = family("one")
    ref = {"resource": "configmaps", "namespace": "shop", "apiVersion": "v1"}
    log("bob", "deletecollection", "configmaps/x", objectRef=ref, level="Metadata")
    log.gone(GC, "configmaps/child")
    assert root(child(make_lake, log)) is None


def test_of_two_owners_the_one_that_is_untied_is_the_cause(make_lake: Make) -> None:
    log = family("one", "two")
    id = log.gone("alice", "configmaps/one")
    log(GC, "patch", "configmaps/child", refs("two"), request={"metadata": {"ownerReferences": []}})
    chain = why(make_lake(log.lines), "cm/child", namespace="shop", event="metadata.ownerReferences")
    assert root(chain) == ("alice", id)


def test_a_controller_acts_for_its_own_owner_only(make_lake: Make) -> None:
    """Of two owners none of which is the controlling one, nobody knows for which a controller acted."""
    log = family("one", "two")
    log("*job-controller", "patch", "configmaps/child", {**refs("one", "two"), "data": {"a": "1"}})
    chain = why(make_lake(log.lines), "cm/child", namespace="shop", event="data.a")
    assert root(chain) is None and any("none of them its controller" in x for x in chain.limits), chain.limits


def test_an_addon_of_kube_system_acts_on_its_own_account(make_lake: Make) -> None:
    """A clean-up job in kube-system is no controller that carries out what the owner asks for."""
    log = family("one")
    id = log.gone("*sweeper", "configmaps/child")
    assert root(child(make_lake, log)) == ("system:serviceaccount:kube-system:sweeper", id)


def test_who_impersonates_the_collector_is_named(make_lake: Make) -> None:
    log = family("one")
    log.gone("zoe", "configmaps/one")
    log.gone(
        "eve", "configmaps/child", impersonatedUser={"username": "system:serviceaccount:kube-system:generic-garbage-collector"}
    )
    chain = child(make_lake, log)
    assert chain.root and chain.root.event.username == "eve"


def test_the_last_finalizer_is_not_the_wish_to_delete(make_lake: Make) -> None:
    """Who let an object go that was being deleted before the log began did not ask for its deletion."""
    log = Log()
    going = {"deletionTimestamp": "2026-11-23T09:00:00Z", "deletionGracePeriodSeconds": 0}
    log("ann", "get", "configmaps/child", {"metadata": {**going, "finalizers": ["x/y"]}})
    id = log("carol", "patch", "configmaps/child", {"metadata": going})
    chain = child(make_lake, log)
    assert [x.event.audit_id for x in chain.links] == [id] and root(chain) is None
    assert any("who asked for the deletion" in x for x in chain.limits)
