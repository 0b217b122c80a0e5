"""Where the rules of `why` look things up: the lives of objects, their owners, and the change that drove a controller."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

from auditlens import kinds
from auditlens.answers.address import Address, address
from auditlens.errors import UsageError
from auditlens.forensics import replay
from auditlens.forensics.bodies import items, text
from auditlens.forensics.events import WRITES, Key, Touch, load
from auditlens.forensics.replay import Life
from auditlens.quoting import listed

if TYPE_CHECKING:
    import duckdb

CERTAIN, LIKELY, GUESS = "certain", "likely", "guess"
_WRITES = listed(WRITES)
_PLACE = "case when t.resource = 'namespaces' and coalesce(t.api_group, '') = '' then '' else coalesce(t.namespace, '') end"
_STATELESS = "coalesce(t.subresource, '') <> 'status' or t.resource = 'certificatesigningrequests'"
SURE = (GUESS, LIKELY, CERTAIN)  # from the least on

_SA = "system:serviceaccount:kube-system:"
# The controllers of kube-controller-manager (plugin/pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go); any other service
# account of kube-system is an add-on, which acts on its own account.
CONTROLLERS = frozenset((
    "attachdetach-controller", "bootstrap-signer", "certificate-controller", "cloud-node-controller", "cloud-provider",
    "clusterrole-aggregation-controller", "cronjob-controller", "daemon-set-controller", "deployment-controller",
    "device-taint-eviction-controller", "disruption-controller", "endpoint-controller", "endpointslice-controller",
    "endpointslicemirroring-controller", "ephemeral-volume-controller", "expand-controller", "generic-garbage-collector",
    "horizontal-pod-autoscaler", "job-controller", "kube-apiserver-serving-clustertrustbundle-publisher",
    "legacy-service-account-token-cleaner", "namespace-controller", "node-controller", "persistent-volume-binder",
    "pod-garbage-collector", "podcertificaterequestcleaner", "pv-protection-controller", "pvc-protection-controller",
    "replicaset-controller", "replication-controller", "resource-claim-controller", "resourcequota-controller",
    "root-ca-cert-publisher", "route-controller", "selinux-warning-controller", "service-account-controller",
    "service-ca-cert-publisher", "service-cidr-controller", "service-cidrs-controller", "service-controller",
    "statefulset-controller", "storage-version-migrator-controller", "taint-eviction-controller", "token-cleaner",
    "ttl-after-finished-controller", "ttl-controller", "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
))  # fmt: skip


def controller(event: Touch) -> str | None:
    """The control-plane component behind a request, None for anybody else.

    With --use-service-account-credentials each controller has a service account; without, the user agent ends in its name
    (controller-manager: clientbuilder AddUserAgent). Whoever impersonates a component, or is impersonated by one, is not it.
    """
    user = event.username or ""
    if event.impersonated is not None:
        return None
    if user.startswith(_SA):
        name = user.removeprefix(_SA)
        return name if name in CONTROLLERS else None
    if user == "system:kube-controller-manager":
        tail = (event.user_agent or "").rpartition("/")[2]
        return tail.removeprefix(_SA) or "kube-controller-manager"
    if user == "system:kube-scheduler":
        return "scheduler"
    if user == "system:apiserver":
        return "apiserver"
    return "kubelet" if user.startswith("system:node:") else None


@dataclass(frozen=True, slots=True)
class Cause:
    """A request that brought another about: the rule that says so, and how sure it is."""

    life: Life
    event: Touch
    effect: str
    rule: str
    sure: str
    limit: str | None = None  # what the log does not tell here
    open: bool = False  # its sender did not begin it: who did is not in the log
    others: tuple[Cause, ...] = ()  # what it may have been instead: only where all lead to one person is that person named

    def or_one_of(self, rivals: Iterable[Cause]) -> Cause:
        """The same, and what else it may have been: not another request of the same person, who is the root of both."""
        seen, others = {_whose(self.event)}, []
        for rival in rivals:
            if _whose(rival.event) not in seen:
                seen.add(_whose(rival.event))
                others.append(rival)
        return replace(self, others=tuple(others))


def _whose(event: Touch) -> str:
    """Two requests of one person have one root; two of one controller may have two."""
    return f"by {event.actor}" if controller(event) is None else f"{event.audit_id} of {event.key}"


class Tracer:
    """Lives by address, each loaded once: writes only, without status, which drives nothing."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self._known: dict[Address, list[Life]] = {}
        self._status: dict[Address, list[Life]] = {}
        self._kinds: dict[tuple[str, str], Address | None] = {}
        self._one: dict[tuple[Key, str], Life | None] = {}  # by uid, of names that are not loaded whole
        self._siblings: dict[str, list[Life]] = {}
        self.memo: dict[tuple[str, str | None], Any] = {}  # what rules worked out about the pods of an owner, by its uid

    def lives(self, wanted: Address) -> list[Life]:
        """The lives of what a target means; from reads where no write holds a body."""
        if wanted not in self._known:
            self._known[wanted] = self._load(*wanted.where())
        return self._known[wanted]

    def with_status(self, wanted: Address) -> list[Life]:
        """`lives` with the writes of status, which drive nothing but are asked for."""
        if wanted not in self._status:
            self._status[wanted] = self._load(*wanted.where(), status=True)
        return self._status[wanted]

    def with_absences(self, wanted: Address) -> list[Life]:
        """`lives` with the requests that found nothing of that name, which tell of ends that no request asked for."""
        self._known[wanted] = self._load(*wanted.where(), absences=True)
        return self._known[wanted]

    def _load(self, where: str, params: Mapping[str, Any], *, status: bool = False, absences: bool = False) -> list[Life]:
        """The lives of the objects that fulfil a condition on `t`, oldest first of each object."""
        base = f"select t.* from audit_objects as t where t.via in ('ref', 'body', 'item') and t.name is not null and {where}"
        events = load(
            self.con,
            f"{base} and t.verb in ({_WRITES}) and coalesce(t.code, 0) not between 300 and 498 "
            f"and ({'true' if status else _STATELESS}) "
            "and coalesce(t.subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'log', 'token')",
            params,
        )
        shown = {e.key for e in events if e.whole and e.body}
        bare = {e.key for e in events} - shown
        if bare or not events:
            reads = f"{base} and t.code < 300 and (t.verb = 'get' or t.via = 'item' and t.verb = 'list')"
            if shown:
                only, more = one_of(bare)
                events += load(self.con, f"{reads} and {only}", {**params, **more})
            else:
                events += load(self.con, reads, params)
        if doubtful := {e.key for e in events if absences or replay.uncertain(e)}:
            only, more = one_of(doubtful)  # whether it was there afterwards
            events += load(self.con, f"{base} and t.code in (404, 409) and {only}", {**params, **more})
        ordered = sorted(events, key=lambda e: (e.key.cluster, str(e.key), e.order))
        return [x for _, own in groupby(ordered, key=lambda e: e.key) for x in replay.lives(own)]

    def warm(self, wanted: Mapping[Key, set[str]]) -> None:
        """Load the lives of many objects at once, which is cheaper than one by one: of some uids, or all of a name.

        A name is loaded whole, too, where some of its events do not tell the uid: which life they are of takes all of them.
        """
        by_uid = {k: uids for k, uids in wanted.items() if uids and self.exactly(k) not in self._known}
        whole = {k for k, uids in wanted.items() if not uids and self.exactly(k) not in self._known}
        whole |= self._nameless(by_uid)
        for key in whole:
            self._known[self.exactly(key)] = []
        for life in self._load(*one_of(whole)) if whole else ():
            self._known.setdefault(self.exactly(life.key), []).append(life)
        left = {k: uids for k, uids in by_uid.items() if k not in whole}
        self._one.update({(k, uid): None for k, uids in left.items() for uid in uids})
        if left:
            where, params = one_of(left)
            uids = sorted({uid for some in left.values() for uid in some})
            for life in self._load(f"{where} and t.uid in (select unnest($uids))", {**params, "uids": uids}):
                if life.uid is not None and (life.key, life.uid) in self._one:
                    self._one[life.key, life.uid] = life

    def warmed(self, keys: Mapping[Key, set[str]]) -> Iterator[Life]:
        """The lives that `warm` loaded of some objects."""
        for key, uids in keys.items():
            if self.exactly(key) in self._known:
                yield from self._known[self.exactly(key)]
            else:
                yield from (life for uid in uids if (life := self._one.get((key, uid))) is not None)

    def _nameless(self, keys: Iterable[Key]) -> set[Key]:
        """Those of some objects about which a write is in the log that does not tell the uid."""
        keys = set(keys)
        if not keys:
            return set()
        where, params = one_of(keys)
        rows = self.con.execute(
            f"""
            select distinct t.cluster, coalesce(t.api_group, ''), t.resource, {_PLACE}, t.name from audit_objects as t
            where t.via in ('ref', 'body', 'item') and t.uid is null and t.verb in ({_WRITES})
                and coalesce(t.code, 0) not between 300 and 498 and ({_STATELESS}) and {where}
            """,
            params,
        ).fetchall()
        return keys & {Key(c, g, r, n or None, name) for c, g, r, n, name in rows}

    @staticmethod
    def exactly(key: Key) -> Address:
        """The target that is one object."""
        return Address(key.group, (key.resource,), key.name, key.namespace, key.cluster)

    def preload(self, kinds: set[tuple[str, str]], namespace: str | None, cluster: str) -> None:
        """Load all objects of some kinds at once, which is cheaper than one by one."""
        for group, resource in sorted(kinds):
            scoped = namespace is not None and resource not in ("namespaces", "nodes")
            names: dict[Address, list[Life]] = {}
            for life in self.lives(Address(group, (resource,), None, namespace if scoped else None, cluster)):
                one = Address(group, (resource,), life.key.name, life.key.namespace, cluster)
                names.setdefault(one, []).append(life)
            for one, lives in names.items():
                self._known.setdefault(one, lives)

    def siblings(self, owner: Life) -> list[Life]:
        """The lives of what an owner has, or had."""
        if owner.uid is None:
            return []
        if owner.uid not in self._siblings:
            rows = self.con.execute(
                f"""
                select distinct t.cluster, coalesce(t.api_group, ''), t.resource, {_PLACE}, t.name, t.uid
                from audit_objects as o join audit_objects as t
                    on o.audit_id = t.audit_id and o.source = t.source and o.line = t.line and coalesce(o.item, 0) = coalesce(t.item, 0)
                where o.via = 'owner' and o.uid = $uid and o.resource = $resource and o.name = $name and o.code < 300
                    and o.cluster = $cluster and t.via in ('ref', 'body') and t.verb <> 'deletecollection' and t.name is not null and t.uid is not null
                """,
                {"uid": owner.uid, "resource": owner.key.resource, "name": owner.key.name, "cluster": owner.key.cluster},
            ).fetchall()
            wanted: dict[Key, set[str]] = {}
            for cluster, group, resource, namespace, name, uid in rows:
                wanted.setdefault(Key(cluster, group, resource, namespace or None, name), set()).add(uid)
            self.warm(wanted)
            uids = {row[5] for row in rows}
            self._siblings[owner.uid] = [life for life in self.warmed(wanted) if life.uid in uids]
        return self._siblings[owner.uid]

    def life(self, wanted: Address, when: dt.datetime, uid: str | None = None, *, ended: bool = False) -> Life | None:
        """The life of a name that a moment falls into, or that of a uid; without a namespace only what is in none.

        With `ended`, of lives whose uid is not known, rather one whose end was asked for by then.
        """
        if uid is not None and wanted.name is not None and wanted.cluster is not None and len(wanted.resources) == 1:
            key = Key(wanted.cluster, wanted.group or "", wanted.resources[0], wanted.namespace, wanted.name)
            if (key, uid) in self._one:
                return self._one[key, uid]
        found = [x for x in self.lives(wanted) if wanted.namespace is not None or x.key.namespace is None]
        if uid is not None:
            exact = [x for x in found if x.uid == uid]
            if exact:
                return exact[0]
            found = [x for x in found if x.uid is None]
        begun = [x for x in found if x.first.received <= when]
        over = [x for x in begun if x.deleted is not None and x.deleted.received <= when] if ended else []
        return (over or begun)[-1] if begun else None

    def namespace(self, name: str | None, cluster: str, when: dt.datetime) -> Life | None:
        return self.life(Address("", ("namespaces",), name, None, cluster), when) if name else None

    def of(
        self, life: Life, kind: str, group: str, name: str, *, uid: str | None, when: dt.datetime, ended: bool = False
    ) -> Life | None:
        """The life of an object in the same namespace or in none, by kind; with `ended` rather one that is over by then."""
        resource = kinds.resource_of(group, kind)
        if resource:
            place = namespace_of(group, resource, life.key.namespace)
            return self.life(self.exactly(Key(life.key.cluster, group, resource, place, name)), when, uid, ended=ended)
        guess = self._custom(kind, group)
        if guess is None:
            return None
        for place in dict.fromkeys((life.key.namespace, None)):  # in its namespace, or cluster-wide
            found = self.life(Address(guess.group, guess.resources, name, place, life.key.cluster), when, uid, ended=ended)
            if found is not None:
                return found
        return None

    def _custom(self, kind: str, group: str) -> Address | None:
        """Where objects of a kind that is not built in are, as the log's CRDs say; None for words that are no kind."""
        if (kind, group) not in self._kinds:
            try:
                self._kinds[kind, group] = address(self.con, f"{kind}.{group}/x" if group else f"{kind}/x")
            except UsageError:
                self._kinds[kind, group] = None
        return self._kinds[kind, group]


def one_of(keys: Iterable[Key]) -> tuple[str, dict[str, Any]]:
    """A condition on `t` that it is about one of some objects, and its parameters.

    The names alone are a condition too: files are sorted by object, so their statistics leave most of them out.
    """
    rows = sorted({(k.cluster, k.group, k.resource, k.namespace or "", k.name) for k in keys})
    params = {
        "resources": sorted({r[2] for r in rows}),
        "names": sorted({r[4] for r in rows}),
        "keys": ["\n".join(r) for r in rows],
    }
    return (
        "t.resource in (select unnest($resources)) and t.name in (select unnest($names)) and "
        f"concat_ws(chr(10), t.cluster, coalesce(t.api_group, ''), t.resource, {_PLACE}, t.name) in (select unnest($keys))",
        params,
    )


def body_at(life: Life, when: dt.datetime | None = None) -> dict[str, Any]:
    """The last body of a life known by a moment; {} where none is."""
    known = [r for r in life.revisions if r.object is not None and (when is None or r.event.received <= when)]
    if known:
        return known[-1].object or {}
    for event in life.events:
        if event.body is not None:
            return event.body
    return {}


def refs_of(body: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The owner references of a body, the controlling one first."""
    known = [
        {**r, "uid": text(r, "uid"), "apiVersion": text(r, "apiVersion")} for r in items(body, "metadata", "ownerReferences")
        if text(r, "kind") and text(r, "name")
    ]  # fmt: skip
    return sorted(known, key=lambda r: r.get("controller") is not True)


def owners(life: Life, when: dt.datetime) -> list[dict[str, Any]]:
    """The owner references of an object by a moment, the controlling one first."""
    return refs_of(body_at(life, when))


def owners_known(life: Life, when: dt.datetime) -> str | None:
    """How sure the owner references are: they may have been changed by what came after the last body; None is not at all."""
    sure: str | None = LIKELY
    for r in life.revisions:
        if r.event.received > when:
            break
        if r.event.body is not None or (r.object is not None and r.event.writes):
            sure = CERTAIN
        elif r.event.verb in ("update", "patch") and r.event.subresource is None:
            sure = None if controller(r.event) == "generic-garbage-collector" else LIKELY
    return sure


def namespace_of(group: str, resource: str, namespace: str | None) -> str | None:
    """The namespace of an owner: that of its dependant, or none where its kind is known to be cluster-wide."""
    return None if (group, resource) in _cluster_wide() else namespace


@cache
def _cluster_wide() -> frozenset[tuple[str, str]]:
    return frozenset((k.group, k.resource) for k in kinds.every() if not k.namespaced)


def group_of(api_version: str | None) -> str:
    return (api_version or "").rpartition("/")[0]
