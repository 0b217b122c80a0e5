"""AP4xx: words a policy takes literally that mean something else, or nothing, to Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from auditlens import kinds
from auditlens.policy.apiserver import served
from auditlens.policy.apiserver.model import LEVELS, GroupResources, Rule
from auditlens.policy.lint.registry import Context, Hit, check, join, named

_NAMED: Final = re.compile(r"[a-z0-9]+(/[a-z]+)?")


def _entries(context: Context) -> Iterator[tuple[tuple[str | int, ...], GroupResources, int, str]]:
    """Every resource text with its path, its entry and its rule's number."""
    for index, rule in context.rules:
        for place, entry in enumerate(rule.resources):
            for number, text in enumerate(entry.resources):
                yield ("rules", index, "resources", place, "resources", number), entry, index, text


@check(
    "AP401",
    "resource in the wrong API group",
    "warning",
    "A resource is matched within its group only; in another group it matches nothing.",
)
def wrong_group(context: Context) -> Iterator[Hit]:
    for path, entry, _, text in _entries(context):
        resource = text.partition("/")[0]
        serving = served.groups_serving(resource)
        if entry.group not in served.groups() or not serving or entry.group in serving:
            continue
        where = [named(group) for group in serving if group != "extensions"] or [named(serving[0])]
        message = f"{text!r} is not in group {named(entry.group)} but in {join(where, 'or')}: it matches nothing"
        yield Hit(path, message, f"Move it to an entry with `group: {_written(serving[0])}`.")


def _written(group: str) -> str:
    return group or '""'


@check(
    "AP402",
    "unknown resource",
    "warning",
    "Resources are compared letter for letter: plural, in lower case. This built-in group has none of this name.",
)
def unknown_resource(context: Context) -> Iterator[Hit]:
    for path, entry, _, text in _entries(context):
        resource = text.partition("/")[0]
        if entry.group not in served.groups() or not _suspicious(resource) or served.groups_serving(resource):
            continue
        message = f"group {named(entry.group)} has no resource {resource!r}: it matches nothing"
        if resource in served.SUBRESOURCE_OF:
            yield Hit(path, message, f"It is requested as {served.SUBRESOURCE_OF[resource]}: write that.")
        elif meant := _meant(resource, entry.group):
            group, plural = meant
            moved = "" if group == entry.group else f" in an entry with `group: {_written(group)}`"
            yield Hit(path, message, f"Write {text.replace(resource, plural, 1)!r}{moved}.")
        else:
            fix = "Look it up with `kubectl api-resources`; remove it, or name the group it is in."
            yield Hit(path, message, fix)


def _meant(word: str, group: str) -> tuple[str, str] | None:
    """The group and plural of the built-in kind a word stands for: of this group if it has one, else of the newest release's."""
    named_so = sorted(kinds.find(word), key=lambda kind: kind.group != group)
    if named_so:
        return named_so[0].group, named_so[0].resource
    if near := served.nearest(word, served.resources_of(group)):
        return group, near
    elsewhere = served.nearest(word, frozenset(kind.resource for kind in kinds.every()), 0.85)
    return (served.groups_serving(elsewhere)[0], elsewhere) if elsewhere else None


def _suspicious(resource: str) -> bool:
    return bool(resource) and "*" not in resource


@check(
    "AP403",
    "unknown subresource",
    "warning",
    "A subresource is compared letter for letter. The resource has none of this name.",
)
def unknown_subresource(context: Context) -> Iterator[Hit]:
    for path, entry, _, text in _entries(context):
        resource, _, subresource = text.partition("/")
        known = served.subresources(entry.group, resource)
        if known is None or subresource in ("", "*", *known) or "/" in subresource:
            continue
        meant = served.nearest(subresource, known)
        fix = f"Write {resource}/{meant}." if meant else f"There are {join([f'{resource}/{k}' for k in known])}."
        yield Hit(path, f"{resource} has no subresource {subresource!r}: it matches nothing", fix)


@check(
    "AP404",
    "verb that does not exist",
    "warning",
    "Verbs are compared letter for letter with get, list, watch, create, update, patch, delete, deletecollection "
    "(resources) and the HTTP method in lower case (other URLs); no request has another.",
)
def unknown_verb(context: Context) -> Iterator[Hit]:
    known = {*served.RESOURCE_VERBS, *served.HTTP_VERBS, "proxy"}
    for index, rule in context.rules:
        for place, verb in enumerate(rule.verbs):
            if verb in known or verb in ("*", ""):
                continue
            words = frozenset(served.RESOURCE_VERBS)
            meant = served.MISTAKEN_VERBS.get(verb.lower()) or served.nearest(verb, words)
            fix = f"Write {meant}." if meant else "Remove it."
            none = all(v not in known for v in rule.verbs)
            result = f": rules[{index}] matches no request" if none else ""
            yield Hit(("rules", index, "verbs", place), f"no request has the verb {verb!r}{result}", fix)


@check(
    "AP405",
    "verb of the other kind of request",
    "warning",
    "Requests for resources have verbs such as list or create; requests for other URLs have the HTTP method in lower "
    "case: get, post, put, delete.",
)
def verb_of_other_kind(context: Context) -> Iterator[Hit]:
    only_resource = set(served.RESOURCE_VERBS) - set(served.HTTP_VERBS)
    only_http = set(served.HTTP_VERBS) - set(served.RESOURCE_VERBS)
    for index, rule in context.rules:
        odd = {"resource": only_http, "non-resource": only_resource, "any": set[str]()}[rule.takes]
        for place, verb in enumerate(rule.verbs):
            if verb not in odd:
                continue
            none = all(v in odd for v in rule.verbs)
            result = f": rules[{index}] matches no request" if none else ""
            if rule.takes == "resource":
                meant = served.MISTAKEN_VERBS.get(verb)
                fix = f"Write {meant}." if meant else "Remove it."
            else:
                meant = {"list": "get", "watch": "get", "create": "post", "update": "put"}.get(verb)
                fix = f"Write {meant}." if meant else "Remove it."
            message = f"{verb!r} is no verb of requests for {_requests(rule.takes)}{result}"
            yield Hit(("rules", index, "verbs", place), message, fix)


def _requests(takes: str) -> str:
    return "resources" if takes == "resource" else "other URLs"


@check(
    "AP406",
    "wildcard taken literally",
    "warning",
    "Users, groups, verbs, namespaces and resource names are compared letter for letter. Only API groups, resources "
    "and URLs have wildcards.",
)
def literal_wildcard(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        lists: dict[tuple[str | int, ...], tuple[str, ...]] = {
            ("rules", index, "users"): rule.users,
            ("rules", index, "userGroups"): rule.user_groups,
            ("rules", index, "verbs"): rule.verbs,
            ("rules", index, "namespaces"): rule.namespaces,
        }
        for place, entry in enumerate(rule.resources):
            lists["rules", index, "resources", place, "resourceNames"] = entry.resource_names
        for path, texts in lists.items():
            for number, text in enumerate(texts):
                if "*" in text:
                    name = path[-1]
                    fix = f"Leave {name} out to match all." if text == "*" else "Write each in full."
                    if name == "users" and text.startswith("system:serviceaccount:"):
                        fix = "Use userGroups: system:serviceaccounts:NAMESPACE holds all of a namespace."
                    yield Hit((*path, number), f"{text!r} in {name} is compared letter for letter", fix)


@check(
    "AP407",
    "wildcard that takes the plain resource along",
    "info",
    "`pods/*` matches pods itself as well as every subresource of it.",
)
def wide_wildcard(context: Context) -> Iterator[Hit]:
    for path, entry, _, text in _entries(context):
        resource = text[:-2]
        if not text.endswith("/*") or resource in ("", "*", *entry.resources) or "/" in resource:
            continue
        if context.release.resource_wildcards:
            message = f"{text!r} matches plain {resource} too"
            fix = f"Add {resource!r} to say so, or name the subresources meant ({resource}/status, …)."
            yield Hit(path, message, fix)


@check(
    "AP408",
    "exec matched by one verb only",
    "warning",
    "kubectl opens exec, attach and port-forward as a WebSocket since about 1.30: the verb is get. Older clients post: "
    "the verb is create. A rule for one of them misses the other.",
)
def exec_verb(context: Context) -> Iterator[Hit]:
    for path, entry, index, text in _entries(context):
        verbs = set(context.policy.rules[index].verbs)
        streams = entry.group == "" and text in (
            "pods/exec",
            "pods/attach",
            "pods/portforward",
            "pods/*",
            "*/exec",
            "*/attach",
            "*/portforward",
        )
        if streams and len(verbs & {"create", "get"}) == 1:
            have, missing = ("create", "get") if "create" in verbs else ("get", "create")
            rules = context.policy.rules
            other = next((r for n, r in enumerate(rules) if n != index and _takes(r, missing, text)), None)
            if other and rules[index].level != "None" and LEVELS.index(other.level) >= LEVELS.index(rules[index].level):
                continue  # it says as much of the others
            message = f"{text} is matched for {have} only: sessions opened by {missing} pass the rule by"
            yield Hit(path, message, f"Add {missing} to the verbs, or leave the verbs out.")


def _takes(rule: Rule, verb: str, resource: str) -> bool:
    """Whether a rule is about all requests of a verb to a core resource, whoever makes them."""
    if rule.users or rule.user_groups or rule.namespaces or (rule.verbs and verb not in rule.verbs):
        return False
    if not rule.resources:
        return not rule.non_resource_urls
    return any(
        e.group == "" and not e.resource_names and (not e.resources or {"*", resource} & set(e.resources)) for e in rule.resources
    )


@check(
    "AP409",
    "user and group mixed up",
    "warning",
    "A rule's users are user names, its userGroups group names; one never matches the other.",
)
def user_is_group(context: Context) -> Iterator[Hit]:
    known = ("system:masters", "system:nodes", "system:authenticated", "system:unauthenticated")
    for index, rule in context.rules:
        for place, user in enumerate(rule.users):
            if user in known or user.startswith("system:serviceaccounts"):
                message = f"{user!r} is a group; no user has this name"
                yield Hit(("rules", index, "users", place), message, "Move it to userGroups.")
        for place, group in enumerate(rule.user_groups):
            if group.startswith(("system:serviceaccount:", "system:node:")) or group in (
                "system:anonymous",
                "system:apiserver",
                "system:kube-controller-manager",
                "system:kube-scheduler",
                "system:kube-proxy",
            ):
                message = f"{group!r} is a user; no group has this name"
                yield Hit(("rules", index, "userGroups", place), message, "Move it to users.")


@check(
    "AP411",
    "system name that nobody has",
    "warning",
    "Kubernetes' own users and groups have fixed names, compared letter for letter; ClusterRoles named alike are no users.",
)
def unknown_system_name(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        for field, names in (("users", rule.users), ("userGroups", rule.user_groups)):
            for place, name in enumerate(names):
                if meant := served.system_name(name):
                    fix = f"Write {meant}."
                    yield Hit(("rules", index, field, place), f"no user and no group is named {name!r}", fix)


@check(
    "AP410",
    "API group that does not exist",
    "warning",
    'Groups are written in full and without version; the core group is the empty text "".',
)
def unknown_group(context: Context) -> Iterator[Hit]:
    full = frozenset(group for group in served.groups() if group)
    for index, rule in context.rules:
        for place, entry in enumerate(rule.resources):
            group = entry.group
            if not group or group in full or group == "*":
                continue
            meant = None
            if group in ("core", "v1", "api", "legacy"):
                meant = '""'
            elif "." not in group:
                meant = next((f for f in sorted(full) if f.startswith(f"{group}.")), None)
            elif group.endswith(".k8s.io"):
                meant = served.nearest(group, full, 0.9)
            if meant:
                path = ("rules", index, "resources", place, "group")
                yield Hit(path, f"there is no API group {group!r}: the entry matches nothing", f"Write {meant}.")
