"""Where the rules of `why` look things up: the lives of objects, their owners, and the change that drove a controller."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from auditlens import kinds
from auditlens.forensics import replay
from auditlens.forensics.changes import Change, changes, words
from auditlens.forensics.events import WRITES, Event, Key, load
from auditlens.forensics.replay import Life, Revision
from auditlens.forensics.target import Target, target

if TYPE_CHECKING:
    import duckdb

CERTAIN, LIKELY, GUESS = "certain", "likely", "guess"
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


def controller(event: Event) -> str | None:
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
    event: Event
    effect: str
    rule: str
    sure: str
    limit: str | None = None  # what the log does not tell here
    open: bool = False  # its sender did not begin it: who did is not in the log


class Tracer:
    """Lives by address, each loaded once: writes only, without status, which drives nothing."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self._known: dict[Target, list[Life]] = {}
        self._siblings: dict[str, list[Event]] = {}

    def lives(self, wanted: Target) -> list[Life]:
        """The lives of what a target means; from reads where no write holds a body."""
        if wanted not in self._known:
            where, params = wanted.where()
            keep = "true" if "certificatesigningrequests" in wanted.resources else "coalesce(t.subresource, '') <> 'status'"
            writes = ", ".join(f"'{v}'" for v in WRITES)
            base = f"select t.* from audit_objects as t where t.via in ('ref', 'body', 'item') and t.name is not null and {where}"
            events = load(
                self.con,
                f"{base} and t.verb in ({writes}) and {keep} and coalesce(t.code, 0) not between 300 and 499 "
                "and coalesce(t.subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'log', 'token')",
                params,
            )
            if not any(e.whole and e.body for e in events):
                events += load(
                    self.con, f"{base} and t.code < 300 and (t.verb = 'get' or t.via = 'item' and t.verb = 'list')", params
                )
            ordered = sorted(events, key=lambda e: (e.key.cluster, str(e.key), e.order))
            self._known[wanted] = [x for _, own in groupby(ordered, key=lambda e: e.key) for x in replay.lives(own)]
        return self._known[wanted]

    def preload(self, kinds: set[tuple[str, str]], namespace: str | None, cluster: str) -> None:
        """Load all objects of some kinds at once, which is cheaper than one by one."""
        for group, resource in sorted(kinds):
            scoped = namespace is not None and resource not in ("namespaces", "nodes")
            names: dict[Target, list[Life]] = {}
            for life in self.lives(Target(group, (resource,), None, namespace if scoped else None, cluster)):
                one = Target(group, (resource,), life.key.name, life.key.namespace, cluster)
                names.setdefault(one, []).append(life)
            for one, lives in names.items():
                self._known.setdefault(one, lives)

    def siblings(self, owner: Life) -> list[Event]:
        """Creations and deletions of what an owner controls, in order."""
        if owner.uid is None:
            return []
        if owner.uid not in self._siblings:
            self._siblings[owner.uid] = load(
                self.con,
                """
                select t.* from audit_objects as o join audit_objects as t
                    on o.audit_id = t.audit_id and o.source = t.source and o.line = t.line and coalesce(o.item, 0) = coalesce(t.item, 0)
                where o.via = 'owner' and o.uid = $uid and o.resource = $resource and o.name = $name and o.code < 300
                    and t.via in ('ref', 'body') and t.verb in ('create', 'delete') and t.code < 300
                """,
                {"uid": owner.uid, "resource": owner.key.resource, "name": owner.key.name},
            )
        return self._siblings[owner.uid]

    def life(self, wanted: Target, when: dt.datetime, uid: str | None = None, *, ended: bool = False) -> Life | None:
        """The life of a name that a moment falls into, or that of a uid; without a namespace only what is in none.

        With `ended`, of lives whose uid is not known, rather one whose end was asked for by then.
        """
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
        return self.life(Target("", ("namespaces",), name, None, cluster), when) if name else None

    def of(
        self, life: Life, kind: str, group: str, name: str, *, uid: str | None, when: dt.datetime, ended: bool = False
    ) -> Life | None:
        """The life of an object in the same namespace or in none, by kind; with `ended` rather one that is over by then."""
        resource = kinds.resource_of(group, kind)
        if resource:
            wanted = Target(group, (resource,), name, life.key.namespace, life.key.cluster)
        else:
            guess = target(self.con, f"{kind}.{group}/{name}" if group else f"{kind}/{name}", cluster=life.key.cluster)
            wanted = Target(guess.group, guess.resources, name, life.key.namespace, life.key.cluster)
        found = self.life(wanted, when, uid, ended=ended)
        if found is None and life.key.namespace:  # a cluster-wide owner
            found = self.life(Target(wanted.group, wanted.resources, name, None, life.key.cluster), when, uid, ended=ended)
        return found


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
    refs = ((body or {}).get("metadata") or {}).get("ownerReferences") or []
    return sorted((r for r in refs if isinstance(r, dict)), key=lambda r: not r.get("controller"))


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


def group_of(api_version: str | None) -> str:
    return (api_version or "").rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Driven:
    """The write that gave an object what its controller then acted on."""

    event: Event
    words: str
    known: bool  # the bodies show the change; else it is only the last write by somebody else


def driver(life: Life, when: dt.datetime, *, paths: tuple[str, ...] = ("spec",)) -> Driven | None:
    """The last request before a moment that changed an object under one of some paths, or made it."""
    before: Revision | None = None
    found: Driven | None = None
    for revision in life.revisions:
        event = revision.event
        if event.received > when:
            break
        if event.writes:
            if event.verb == "create" and event.subresource is None:
                found = Driven(event, f"{life.key} created", revision.object is not None)
            elif before is not None and before.object is not None and revision.object is not None:
                hits = under(changes(before.object, revision.object), paths)
                if hits:
                    found = Driven(event, f"{life.key}: {words(hits, most=3)}", revision.known in (replay.EXACT, replay.DERIVED))
            elif controller(event) is None or event.subresource == "scale":
                found = Driven(event, f"{life.key} changed", False)
        before = revision
    return found


def under(found: list[Change], paths: tuple[str, ...]) -> list[Change]:
    """The changes at or below some paths."""
    return [c for c in found if any(c.path == p or c.path.startswith((p + ".", p + "[")) for p in paths)]


def name_of(key: Key) -> str:
    return f"{key.resource}/{key.name}"
