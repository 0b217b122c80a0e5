"""What Kubernetes serves, as far as a policy can name it: resources with their groups, subresources, verbs, identities.

Resources come from auditlens.kinds; the rest is told here. Custom and aggregated groups are unknown, never wrong.
"""

from __future__ import annotations

import difflib
from functools import cache
from typing import Final

from auditlens import kinds

__all__ = [
    "HTTP_VERBS",
    "MISTAKEN_VERBS",
    "RESOURCE_VERBS",
    "SUBRESOURCE_OF",
    "groups",
    "groups_serving",
    "is_namespaced",
    "nearest",
    "resources_of",
    "subresources",
]

RESOURCE_VERBS: Final = (
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
)
HTTP_VERBS: Final = ("get", "head", "post", "put", "patch", "delete", "options", "trace", "connect")
# Verbs of RBAC that no request has, and words of other tools for the verbs above.
MISTAKEN_VERBS: Final = {
    "replace": "update",
    "apply": "patch",
    "edit": "update",
    "write": "create",
    "read": "get",
    "remove": "delete",
    "add": "create",
    "modify": "patch",
    "post": "create",
    "put": "update",
    "exec": "create",
    "connect": "create",
    "deletecollections": "deletecollection",
}

# Built-in subresources beside status and scale, which any resource may have (docs: Kubernetes API reference).
_SUBRESOURCES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("", "pods"): (
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "log",
        "portforward",
        "proxy",
        "resize",
    ),
    ("", "nodes"): ("proxy",),
    ("", "services"): ("proxy",),
    ("", "namespaces"): ("finalize",),
    ("", "serviceaccounts"): ("token",),
    ("certificates.k8s.io", "certificatesigningrequests"): ("approval",),
}
# Kinds that are requested as a subresource, under the plurals people try.
SUBRESOURCE_OF: Final = {
    "tokenrequests": 'serviceaccounts/token (group "")',
    "evictions": 'pods/eviction (group "")',
    "scales": "deployments/scale (group apps) and the like",
}


@cache
def groups() -> frozenset[str]:
    """The built-in API groups, "" for core."""
    return frozenset(kind.group for kind in kinds.every())


@cache
def resources_of(group: str) -> frozenset[str]:
    """The resources of a built-in group, removed ones too; empty for a group that is not built in."""
    return frozenset(kind.resource for kind in kinds.every() if kind.group == group)


@cache
def groups_serving(resource: str) -> tuple[str, ...]:
    """The built-in groups that have a resource spelled just so, those of the newest release first."""
    return tuple(dict.fromkeys(kind.group for kind in kinds.every() if kind.resource == resource))


def is_namespaced(group: str, resource: str) -> bool | None:
    """True or False for a built-in resource, None for any other."""
    found = (k.namespaced for k in kinds.find(resource) if k.resource == resource and k.group == group)
    return next(found, None)


def subresources(group: str, resource: str) -> tuple[str, ...] | None:
    """The subresources of a built-in resource, None if it is not one."""
    if resource not in resources_of(group):
        return None
    return ("status", "scale", *_SUBRESOURCES.get((group, resource), ()))


def nearest(word: str, words: tuple[str, ...] | frozenset[str], alike: float = 0.7) -> str | None:
    """The word most like another, None if none is as much alike (of 1)."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(words)}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=alike)
    return by_lower[found[0]] if found else None
