"""What a request without the object in its answer made of it: the request applied to what was there before.

Returns the object and a note of what is uncertain; never guesses where it cannot apply the request.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from auditlens.forensics import patches
from auditlens.forensics.bodies import items, part, text
from auditlens.forensics.events import Touch

# Fields the server fills in and clients leave out (apimachinery meta/v1 ObjectMeta).
_SERVERS = ("uid", "creationTimestamp", "generation", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds")


def derive(now: dict[str, Any] | None, event: Touch, *, known: str | None) -> tuple[dict[str, Any] | None, str | None]:
    """The object after `event`, applied to `now`; None and why where that cannot be told."""
    made, note = _derived(now, event)
    if made is None:
        return None, note
    meta = made["metadata"] = part(made, "metadata")
    if event.rv is not None:
        meta["resourceVersion"] = str(event.rv)
    elif now is not None and event.writes:
        meta.pop("resourceVersion", None)
    body = event.body
    if body is not None and not event.whole:  # PartialObjectMetadata: all of its metadata, none of the rest
        made["metadata"] = deepcopy(body["metadata"])
    return made, note


def _derived(now: dict[str, Any] | None, event: Touch) -> tuple[dict[str, Any] | None, str | None]:
    if event.verb == "create" and event.subresource is None:
        return _created(event)
    if now is None:
        return None, "what was there before is not in the log"
    if event.verb == "deletecollection" or event.subresource == "eviction" or event.verb == "delete":
        out = deepcopy(now)
        out["metadata"] = part(out, "metadata")
        out["metadata"].setdefault("deletionTimestamp", event.time.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return out, "being deleted; the exact time and grace period are not in the log"
    if event.subresource == "binding":
        return _bound(deepcopy(now), event)
    if (asked := asked_version(event)) and now.get("apiVersion") not in (None, asked):
        return None, f"it was asked for in {asked}, and what was there before is known in {now['apiVersion']} only"
    if event.subresource == "scale":
        return _scaled(now, event)
    if event.request is None:
        return None, f"the {event.verb} was recorded without its body"
    if event.verb == "update" and isinstance(event.request, dict):
        return _updated(now, event), "as the client sent it, before admission"
    if event.verb == "patch":
        return _patched(now, event)
    return None, f"what {event.verb} of {event.subresource} changes is not known"


def _bound(out: dict[str, Any], event: Touch) -> tuple[dict[str, Any] | None, str | None]:
    """A pod with its node. Source: pkg/registry/core/pod/storage/storage.go, setPodNodeAndMetadata."""
    node = text(event.request, "target", "name")
    if not node:
        return out, "bound to a node that the log does not name at this level"
    out["spec"] = {"nodeName": node, **part(out, "spec")}
    status = out["status"] = part(out, "status")
    others = [c for c in items(status, "conditions") if c.get("type") != "PodScheduled"]
    since = event.time.strftime("%Y-%m-%dT%H:%M:%SZ")
    status["conditions"] = [
        *others, {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": since}
    ]  # fmt: skip
    meta = out["metadata"] = part(out, "metadata")
    for kept in ("annotations", "labels"):
        if more := part(part(event.request, "metadata"), kept):
            meta[kept] = {**part(meta, kept), **more}
    return out, "the node is from the binding"


def asked_version(event: Touch) -> str | None:
    """The apiVersion in which a request names the object; that of an update's body, which must be the same, where the URL is not known."""
    if event.api_version:
        return f"{event.key.group}/{event.api_version}" if event.key.group else event.api_version
    body = event.request
    found = body.get("apiVersion") if event.verb == "update" and event.subresource is None and isinstance(body, dict) else None
    return found if isinstance(found, str) else None


def _created(event: Touch) -> tuple[dict[str, Any] | None, str | None]:
    if not isinstance(event.request, dict) or not isinstance(event.request.get("metadata"), dict):
        return None, "created; the log holds no body of it at this level"
    out = deepcopy(event.request)
    out["metadata"].setdefault("name", event.key.name)
    if event.key.namespace:
        out["metadata"].setdefault("namespace", event.key.namespace)
    if event.uid:
        out["metadata"]["uid"] = event.uid
    return out, "as the client sent it, before admission"


def _updated(now: dict[str, Any], event: Touch) -> dict[str, Any]:
    sent = deepcopy(event.request)
    if event.subresource in ("status", "finalize", "approval"):
        out = deepcopy(now)
        below = "spec" if event.subresource == "finalize" else "status"
        if below in sent:
            out[below] = sent[below]
        return out
    kept = {k: v for k, v in part(now, "metadata").items() if k in _SERVERS}
    sent["metadata"] = {**kept, **{k: v for k, v in part(sent, "metadata").items() if v is not None}}
    if "status" in now:
        sent["status"] = deepcopy(now["status"])  # an update of the object leaves status alone
    return dict(sent)


def _scaled(now: dict[str, Any], event: Touch) -> tuple[dict[str, Any] | None, str | None]:
    wanted = part(event.response, "spec").get("replicas", part(event.request, "spec").get("replicas"))
    if not isinstance(wanted, int):
        return None, "scaled; to what is not in the log at this level"
    out = deepcopy(now)
    spec, meta = part(out, "spec"), part(out, "metadata")
    out["spec"] = spec
    if spec.get("replicas") != wanted and isinstance(meta.get("generation"), int):
        meta["generation"] += 1
    spec["replicas"] = wanted
    return out, "replicas from the scale subresource"


def _patched(now: dict[str, Any], event: Touch) -> tuple[dict[str, Any] | None, str | None]:
    patch = event.request
    type_ = patches.type_of(now.get("apiVersion"), now.get("kind"))
    try:
        if isinstance(patch, list):
            return patches.json_patch(now, patch), "the JSON patch applied"
        if not isinstance(patch, dict):
            return None, "the patch is neither an object nor a list"
        if _is_apply(event, patch):
            # what the other managers own stays; what this one gave up cannot be told without managedFields
            return patches.strategic_patch(now, patch, type_), "server-side apply; fields it dropped cannot be told"
        if patches.is_strategic(patch):
            return patches.strategic_patch(now, patch, type_), "the strategic merge patch applied"
        plain = patches.merge_patch(now, patch)
        if "." in event.key.group and not event.key.group.endswith(".k8s.io"):
            return plain, "the merge patch applied"  # custom resources take no strategic merge patch
        strategic = patches.strategic_patch(now, patch, type_)
        same = "" if plain == strategic else "; as a merge patch it would differ, and the log does not hold its type"
        return strategic, f"the strategic merge patch applied{same}"
    except patches.PatchError as e:
        return None, str(e)


def _is_apply(event: Touch, patch: dict[str, Any]) -> bool:
    """Server-side apply sends a whole object and must name its field manager (apiserver handlers/patch.go)."""
    return (
        bool(re.search(r"[?&]fieldManager=", event.uri)) and {"apiVersion", "kind", "metadata"} <= patch.keys()
        and "resourceVersion" not in part(patch, "metadata")
    )  # fmt: skip
