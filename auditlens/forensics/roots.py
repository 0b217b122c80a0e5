"""The root of every deletion a question found, by the rules of `why` and no others, so that both always name the same person.

Rows are explained together: the lives they need are loaded level by level, the deleted objects first, then what owned or held them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from auditlens import kinds
from auditlens.forensics import rules
from auditlens.forensics.events import Key, collection
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import CERTAIN, Cause, Tracer, body_at, controller, group_of, namespace_of, refs_of
from auditlens.forensics.why import Chain, ended, follow

if TYPE_CHECKING:
    import duckdb
    import polars as pl

NOT_DONE = ("refused", "dry-run")
_LEVELS = 6  # from a pod to its namespace by way of owners


def fill(con: duckdb.DuckDBPyConnection, frame: pl.DataFrame, params: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of `who-deleted` with who began what led to them, by which rule, how sure, or why that cannot be told."""
    import polars as pl

    tracer = Tracer(con)
    rows = frame.to_dicts()
    done = [row for row in rows if row["how"] not in NOT_DONE]
    _warm(tracer, {_key(row) for row in done if row["name"] is not None})
    known: dict[int, Chain] = {}
    told = [_told(_chain(tracer, row, known) if row["how"] not in NOT_DONE else Chain()) for row in rows]
    return frame.with_columns(pl.Series(name, [t[name] for t in told], pl.String) for name in _told(Chain()))


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
    life = next((x for x in tracer.lives(tracer.exactly(_key(row))) if _is_of(x, row)), None)
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


def _warm(tracer: Tracer, keys: set[Key]) -> None:
    """Load all lives that the rules will ask for, a level at a time; what is missing here they load one by one."""
    seen: set[Key] = set()
    for level in range(_LEVELS):
        keys -= seen
        if not keys:
            return
        seen |= keys
        tracer.warm(keys)
        lives = [life for key in keys for life in tracer.lives(tracer.exactly(key))]
        keys = {key for life in lives if level or _by_controller(life) for key in _beyond(life)}


def _by_controller(life: Life) -> bool:
    end = life.deleted or life.ended
    return end is None or controller(end) is not None


def _beyond(life: Life) -> Iterable[Key]:
    """The objects a rule may ask about next: owners, the namespace, the node."""
    end = life.deleted or life.ended
    who = controller(end) if end is not None else None
    if who == "namespace-controller":
        yield Key(life.key.cluster, "", "namespaces", None, life.key.namespace or life.key.name)
        return
    for revision in life.revisions:
        for ref in refs_of(revision.object):
            kind, group = ref.get("kind", ""), group_of(ref.get("apiVersion"))
            resource = kinds.resource_of(group, kind)
            if resource:
                yield Key(
                    life.key.cluster, group, resource, namespace_of(group, resource, life.key.namespace), ref.get("name", "")
                )
    if life.key.resource == "pods" and who in rules.BY_NODE:
        node = (body_at(life).get("spec") or {}).get("nodeName")
        if node:
            yield Key(life.key.cluster, "", "nodes", None, node)
