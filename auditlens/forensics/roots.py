"""The root of every deletion a question found, by the rules of `why` and no others, so that both always name the same person.

Rows are explained together: the lives they need are loaded level by level, the deleted objects first, then what owned or held them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from auditlens import kinds
from auditlens.answers.address import Address
from auditlens.forensics import endings, rules
from auditlens.forensics.bodies import text
from auditlens.forensics.events import Key, collection
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import CERTAIN, Cause, Tracer, body_at, controller, group_of, namespace_of, one_of, refs_of
from auditlens.forensics.why import Chain, ended, follow

if TYPE_CHECKING:
    import duckdb
    import polars as pl

NOT_DONE = ("refused", "dry-run")
_LEVELS = 6  # from a pod to its namespace by way of owners


def fill(con: duckdb.DuckDBPyConnection, frame: pl.DataFrame, of: Address) -> pl.DataFrame:
    """The rows of `who-deleted` with who began what led to them, by which rule, how sure, or why that cannot be told."""
    import polars as pl

    tracer = Tracer(con)
    rows = frame.to_dicts()
    open_ = [row for row in rows if row["how"] not in NOT_DONE]
    alone = _alone(con, open_)
    chains = [row for row in open_ if id(row) not in alone]
    wanted: dict[Key, set[str]] = {}
    for row in chains:
        if row["name"] is not None:
            wanted.setdefault(_key(row), set()).update([row["uid"]] if row["uid"] else [])
    for row in chains:
        if row["name"] is not None and not row["uid"]:
            wanted[_key(row)] = set()
    _warm(tracer, wanted)
    known: dict[int, Chain] = {}
    told = [
        _told(Chain()) if row["how"] in NOT_DONE
        else _itself(row) if id(row) in alone
        else _told(_chain(tracer, row, known))
        for row in rows
    ]  # fmt: skip
    return frame.with_columns(pl.Series(name, [t[name] for t in told], pl.String) for name in _told(Chain()))


def _alone(con: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]) -> set[int]:
    """Rows (by `id`) that are the only request for the end of their object, by nobody of the control plane: they are the root.

    Most are, and need no life to be told; that the others' first request counts is for `endings.ending` to say.
    """
    own = [r for r in rows if r["name"] is not None and r["uid"] is not None and r["how"] in ("direct", "collection", "eviction")]
    if not own:
        return set()
    where, params = one_of({_key(r) for r in own})
    requests: dict[tuple[Key, str | None], set[str]] = {}
    for cluster, group, resource, namespace, name, uid, audit_id in con.execute(
        f"""
        select t.cluster, coalesce(t.api_group, ''), t.resource, t.namespace, t.name, t.uid, t.audit_id from audit_objects as t
        where t.via in ('ref', 'body', 'item') and not coalesce(t.dry_run, false) and coalesce(t.code, 0) not between 300 and 498
            and (t.verb in ('delete', 'deletecollection') and t.subresource is null or t.verb = 'create' and t.subresource = 'eviction')
            and {where}
        """,
        params,
    ).fetchall():
        key = _key({"cluster": cluster, "api_group": group, "resource": resource, "namespace": namespace, "name": name})
        requests.setdefault((key, uid), set()).add(audit_id)
    return {id(r) for r in own if requests.get((_key(r), r["uid"])) == {r["audit_id"]} and (_key(r), None) not in requests}


def _itself(row: Mapping[str, Any]) -> dict[str, str | None]:
    subresource = "eviction" if row["how"] == "eviction" else None
    return {
        "root_username": row["username"],
        "root_impersonator": row["impersonator"],
        "root_audit_id": row["audit_id"],
        "root_rule": endings.asked_how(row["verb"], subresource),
        "root_sure": CERTAIN,
        "root_limit": None,
    }


def _told(chain: Chain) -> dict[str, str | None]:
    root = chain.root
    return {
        "root_username": root.event.actor if root else None,
        "root_impersonator": root.event.impersonator if root else None,
        "root_audit_id": root.event.audit_id if root else None,
        "root_rule": root.rule if root else None,
        "root_sure": root.sure if root else None,
        "root_limit": "; ".join(chain.limits) or None,
    }


def _key(row: Mapping[str, Any]) -> Key:
    namespace = None if row["resource"] == "namespaces" and not row["api_group"] else row["namespace"]
    return Key(row["cluster"], row["api_group"] or "", row["resource"], namespace, row["name"])


def _chain(tracer: Tracer, row: Mapping[str, Any], known: dict[int, Chain]) -> Chain:
    """What led to the end of the life a row is of; the same for all rows of that life."""
    if row["name"] is None:
        return _of_collection(tracer, row)
    key, uid = _key(row), row["uid"]
    life = tracer.life(tracer.exactly(key), row["time"], uid) if uid else None
    if life is None or not _is_of(life, row):
        life = next((x for x in tracer.lives(tracer.exactly(key)) if _is_of(x, row)), None)
    if life is None:
        return Chain(limits=["the log does not tell which object of that name this was"])
    if id(life) not in known:
        known[id(life)] = ended(tracer, life)
    return known[id(life)]


def _is_of(life: Life, row: Mapping[str, Any]) -> bool:
    return any(e.audit_id == row["audit_id"] and e.time == row["time"] for e in life.events)


def _of_collection(tracer: Tracer, row: Mapping[str, Any]) -> Chain:
    """A collection whose items the log does not hold: whoever sent it, and what made a controller send it."""
    chain, key = Chain(), _key({**row, "name": ""})
    event = collection(tracer.con, key, row["audit_id"], row["source"], row["line"])
    if event is not None:
        follow(tracer, Cause(Life(key, None, [event]), event, f"{key.resource} deleted", "direct: asked for", CERTAIN), chain)
    return chain


def _warm(tracer: Tracer, wanted: dict[Key, set[str]]) -> None:
    """Load all lives that the rules will ask for, a level at a time; what is missing here they load one by one."""
    seen: set[tuple[Key, str | None]] = set()
    for level in range(_LEVELS):
        new = {k: uids for k, uids in wanted.items() if not set(_pairs(k, uids)) <= seen}
        if not new:
            return
        seen.update(pair for k, uids in new.items() for pair in _pairs(k, uids))
        tracer.warm(new)
        wanted = {}
        for life in tracer.warmed(new):
            if level or _by_controller(life):
                for key, uid in _beyond(life):
                    wanted.setdefault(key, set()).update([uid] if uid else [])


def _pairs(key: Key, uids: set[str]) -> list[tuple[Key, str | None]]:
    return [(key, uid) for uid in uids] or [(key, None)]


def _by_controller(life: Life) -> bool:
    end = life.deleted or life.ended
    return end is None or controller(end) is not None


def _beyond(life: Life) -> Iterable[tuple[Key, str | None]]:
    """The objects a rule may ask about next: owners, the namespace, the node."""
    end = life.deleted or life.ended
    who = controller(end) if end is not None else None
    if who == "namespace-controller":
        yield Key(life.key.cluster, "", "namespaces", None, life.key.namespace or life.key.name), None
        return
    for revision in life.revisions:
        for ref in refs_of(revision.object):
            kind, group = ref.get("kind", ""), group_of(ref.get("apiVersion"))
            resource = kinds.resource_of(group, kind)
            if resource:
                namespace = namespace_of(group, resource, life.key.namespace)
                yield Key(life.key.cluster, group, resource, namespace, ref.get("name", "")), ref.get("uid")
    if life.key.resource == "pods" and who in rules.BY_NODE:
        node = text(body_at(life), "spec", "nodeName")
        if node:
            yield Key(life.key.cluster, "", "nodes", None, node), None
