"""Collections that were deleted without a record of what was in them: which objects their selectors choose, by the labels these had."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from auditlens.forensics.bodies import part
from auditlens.forensics.events import Touch, collection
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import LIKELY, Cause, Tracer, body_at

_SET = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s*\(([^()]*)\)\s*")
_ONE = re.compile(r"\s*(!?)\s*([^\s!=,()]+)\s*(?:(==?|!=)\s*([^\s!=,()]*))?\s*")


def swept(tracer: Tracer, life: Life, by: Touch) -> Cause | None:
    """A deletecollection whose items the log does not hold, that an object was in and that went before a moment; None if there is none.

    One with a field selector, or with labels where no body shows those of the object, may have left it out.
    """
    rows = tracer.con.execute(
        "select audit_id, source, line from audit where verb = 'deletecollection' and code < 300 and stage = 'ResponseComplete' "
        "and response_object is null and not coalesce(dry_run, false) and subresource is null and cluster = ? and resource = ? "
        "and coalesce(api_group, '') = ? and coalesce(namespace, '') in ('', ?) and received_time >= ? and received_time <= ? "
        "order by stage_time, audit_id",
        [life.key.cluster, life.key.resource, life.key.group, life.key.namespace or "", life.first.received, by.received],
    ).fetchall()
    found = [e for row in rows if (e := collection(tracer.con, life.key, *row)) is not None and _in(life, e)]
    if not found:
        return None
    rule = "collection: a deletecollection whose items were not recorded"
    causes = [Cause(life, e, f"{life.key} deleted", rule, LIKELY) for e in found]
    return causes[0].or_one_of(causes[1:])


def _in(life: Life, event: Touch) -> bool:
    asked = parse_qs(urlsplit(event.uri).query)
    labels = part(body_at(life, event.received), "metadata", "labels")
    if any(asked.get("fieldSelector", ())):
        return False
    return all(chooses(s, labels) for s in asked.get("labelSelector", ()))


def chooses(selector: str, labels: dict[str, object]) -> bool:
    """Whether a label selector chooses some labels (apimachinery pkg/labels); one that cannot be read chooses nothing."""
    at = 0
    while at < len(selector):
        found = _SET.match(selector, at) or _ONE.match(selector, at)
        if found is None or not _fulfils(found, labels):
            return False
        at = found.end()
        if at < len(selector) and selector[at] != ",":
            return False
        at += 1
    return True


def _fulfils(found: re.Match[str], labels: dict[str, object]) -> bool:
    if found.re is _SET:
        key, how, values = found.groups()
        within = labels.get(key) in [v.strip() for v in values.split(",")]
        return within if how == "in" else not within
    negated, key, how, value = found.groups()
    if how is None:
        return (key in labels) != bool(negated)
    return not negated and (labels.get(key) == value) == (how != "!=")
