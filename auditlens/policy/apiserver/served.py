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
    "system_name",
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


# Names of Kubernetes' own users and groups (apiserver pkg/authentication/user/user.go, pkg/authentication/serviceaccount/util.go;
# kubeadm and cloud providers for the components').
_SYSTEM_USERS: Final = (
    "system:admin", "system:anonymous", "system:apiserver", "system:cloud-controller-manager", "system:kube-controller-manager",
    "system:kube-proxy", "system:kube-scheduler", "system:unsecured",
)  # fmt: skip
_SYSTEM_GROUPS: Final = (
    "system:authenticated", "system:bootstrappers", "system:masters", "system:monitoring", "system:nodes", "system:serviceaccounts",
    "system:unauthenticated",
)  # fmt: skip
_NODES: Final = "system:nodes in userGroups (all kubelets) or system:node:NAME in users (one)"
_ACCOUNTS: Final = (
    "system:serviceaccounts or system:serviceaccounts:NAMESPACE in userGroups, or system:serviceaccount:NAMESPACE:NAME in users"
)
# What people write for them: the start of a name, and ClusterRoles (plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go).
_NOBODY: Final = {
    "system:node": _NODES,
    "system:node:": _NODES,
    "system:kubelet": _NODES,
    "system:kubelets": _NODES,
    "system:serviceaccount": _ACCOUNTS,
    "system:serviceaccount:": _ACCOUNTS,
    "system:service-account": _ACCOUNTS,
    "system:service-accounts": _ACCOUNTS,
    "system:node-proxier": "system:kube-proxy in users, or the service account kube-proxy runs as",
    "system:controller-manager": "system:kube-controller-manager in users",
    "system:scheduler": "system:kube-scheduler in users",
    "system:proxy": "system:kube-proxy in users",
    "system:kube-apiserver": "system:apiserver in users",
}


def system_name(name: str) -> str | None:
    """What was meant by a name that looks like one of Kubernetes' own users or groups and is none; None for any other name.

    >>> system_name("system:master")
    'system:masters in userGroups'
    >>> system_name("system:node:web-1") is None
    True
    """
    if name in _NOBODY:
        return _NOBODY[name]
    if name.startswith("system:controller:"):
        return f"system:serviceaccount:kube-system:{name.removeprefix('system:controller:')} in users: this is its ClusterRole"
    account = name.split(":")
    if account[:2] == ["system", "serviceaccount"] and len(account) == 3:
        return f"system:serviceaccounts:{account[2]} in userGroups, or system:serviceaccount:{account[2]}:NAME in users"
    if name.count(":") != 1 or not name.startswith("system:") or name in (*_SYSTEM_USERS, *_SYSTEM_GROUPS):
        return None
    likely = set(_SYSTEM_USERS) - {"system:admin"}  # OpenShift's; system:admins may well be somebody's group
    near = nearest(name, frozenset({*likely, *_SYSTEM_GROUPS}), 0.93)
    return near and f"{near} in {'userGroups' if near in _SYSTEM_GROUPS else 'users'}"


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
