"""AP2xx: text that kube-apiserver reads without complaint, or with one in its log only, and then does not follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from auditlens.policy.apiserver.decode import Unknown, dotted, known_fields
from auditlens.policy.apiserver.model import Rule
from auditlens.policy.apiserver.served import nearest
from auditlens.policy.lint.registry import Context, Hit, check, named

_ONE_LEVEL_UP: Final = (
    "verbs",
    "users",
    "userGroups",
    "namespaces",
    "omitStages",
    "level",
    "nonResourceURLs",
)
_MEANT: Final = {
    "apigroup": "group",
    "apigroups": "group",
    "groups": "userGroups",
    "group": "userGroups",
    "name": "resourceNames",
    "names": "resourceNames",
    "nonresourceurl": "nonResourceURLs",
    "nonresourcepaths": "nonResourceURLs",
    "paths": "nonResourceURLs",
    "urls": "nonResourceURLs",
    "stages": "omitStages",
    "usernames": "users",
    "username": "users",
    "serviceaccounts": "users",
}
_OUT_OF_SIGHT: Final = (
    "code",
    "objectref",
    "status",
    "sourceip",
    "useragent",
    "annotation",
    "label",
    "impersonat",
    "host",
    "message",
)


@check(
    "AP201",
    "unknown field",
    "warning",
    "kube-apiserver drops a field it does not know: from 1.26 with one warning in its own log, before without a word. "
    "The condition that was meant is not there.",
)
def unknown_field(context: Context) -> Iterator[Hit]:
    for unknown in context.draft.dropped:
        if unknown.repeated or unknown.path[-1] in known_fields(unknown.path):
            continue
        message = f"unknown field {dotted(unknown.path)}: {_consequence(context, unknown)}"
        yield Hit(_spot(context, unknown), message, _remedy(unknown))


def _spot(context: Context, unknown: Unknown) -> tuple[str | int, ...]:
    context.draft.decoded.positions[unknown.path] = unknown.position
    return unknown.path


def _consequence(context: Context, unknown: Unknown) -> str:
    """Say what the policy does now that the field is gone."""
    path = unknown.path
    if path[0] == "metadata":
        return "it is dropped; nothing depends on it"
    if len(path) == 1:
        meant = _meant(unknown)
        if meant == "omitStages":
            return "no stage is left out, each request writes all its events"
        return "it is dropped, and the policy does without it"
    index = path[1]
    rules = context.policy.rules
    if path[0] != "rules" or not isinstance(index, int) or index >= len(rules):
        return "it is dropped"
    rule = rules[index]
    if len(path) > 4 and path[2] == "resources" and isinstance(path[3], int):
        entry = rule.resources[path[3]]
        if not entry.resources:
            return (
                f"the entry names no resources, so it takes every resource of group {named(entry.group)} "
                f"and all their subresources, at level {rule.level or '(none)'}"
            )
        return f"the entry takes all {', '.join(entry.resources)}, whatever the field says"
    if _meant(unknown) in ("omitStages", "omitManagedFields"):
        return "the rule writes every stage the policy does not leave out"
    return _wider(rule, index, len(rules))


def _wider(rule: Rule, index: int, count: int) -> str:
    if rule.takes == "any" and not (rule.users or rule.user_groups or rule.verbs):
        rest = f", and rules[{index + 1}] and later are never reached" if index + 1 < count else ""
        return f"the rule is left without any condition and takes every request at level {rule.level}{rest}"
    left = [
        name
        for name, value in (
            ("users", rule.users),
            ("userGroups", rule.user_groups),
            ("verbs", rule.verbs),
            ("resources", rule.resources),
            ("namespaces", rule.namespaces),
            ("nonResourceURLs", rule.non_resource_urls),
        )
        if value
    ]
    return f"the rule takes all that its other conditions ({', '.join(left)}) let through"


def _meant(unknown: Unknown) -> str | None:
    """The field that was probably meant."""
    key = str(unknown.path[-1])
    known = known_fields(unknown.path)
    guess = _MEANT.get(key.lower())
    if guess in known:
        return guess
    return nearest(key, known)


def _remedy(unknown: Unknown) -> str:
    key = str(unknown.path[-1])
    known = known_fields(unknown.path)
    if key in _ONE_LEVEL_UP and key not in known:
        return f"Move {key} out of the resources entry, to the rule."
    if any(word in key.lower() for word in _OUT_OF_SIGHT):
        return (
            "Remove it: a policy sees user, groups, verb, resource, name, namespace and path only, and is asked "
            "before the answer exists."
        )
    if key == "stages":
        return "There is only omitStages: list the stages to leave out instead of those to write."
    meant = _meant(unknown)
    if meant:
        return f"Write {meant}."
    moved = _MEANT.get(key.lower())
    if moved in _ONE_LEVEL_UP:
        return f"Write {moved}, and put it at the rule, outside the resources entry."
    return f"Remove it; known here are {', '.join(known)}." if known else "Remove it."


@check(
    "AP202",
    "field given twice",
    "warning",
    "Of a field given twice only the last value counts; the first is lost without an error.",
)
def duplicate_field(context: Context) -> Iterator[Hit]:
    for duplicate in context.draft.duplicates:
        first = f"line {duplicate.first.line}"
        message = f"{duplicate.key} is given again; the value of {first} is lost"
        yield Hit(duplicate.position, message, "Join the two, or remove one.")
    for unknown in context.draft.dropped:
        if unknown.repeated:
            message = f"{dotted(unknown.path)} is given again and decoded over the first value"
            yield Hit(unknown.position, message, "Join the two, or remove one.")


@check(
    "AP203",
    "more than one document",
    "warning",
    "kube-apiserver reads the first YAML document of the file and never looks at the others.",
)
def second_document(context: Context) -> Iterator[Hit]:
    place = context.draft.next_document
    if place is not None:
        yield Hit(place, "a second document starts here; it is never read", "Join the rules into one policy.")


@check(
    "AP204",
    "kind missing",
    "info",
    "kube-apiserver fills in a missing kind by itself; other tools refuse the file.",
)
def missing_kind(context: Context) -> Iterator[Hit]:
    root = context.draft.root
    served = context.draft.policy.api_version in context.release.api_versions
    if root is not None and served and root.get("kind") is None:
        yield Hit(("apiVersion",), "the policy has no kind", "Add `kind: Policy`.")


@check(
    "AP205",
    "empty condition",
    "warning",
    "An empty list is no condition: it matches everything, not nothing.",
)
def empty_condition(context: Context) -> Iterator[Hit]:
    fields = ("users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs")
    for index, _ in context.rules:
        for name in fields:
            yield from _empty(context, ("rules", index, name), "every request passes it")
        for place, entry in enumerate(context.policy.rules[index].resources):
            where = ("rules", index, "resources", place)
            taken = f"the entry takes all of group {named(entry.group)}"
            yield from _empty(context, (*where, "resources"), taken)
            yield from _empty(context, (*where, "resourceNames"), "every name passes it")


def _empty(context: Context, path: tuple[str | int, ...], consequence: str) -> Iterator[Hit]:
    decoded = context.draft.decoded
    if path not in decoded.positions:
        return
    value: object = decoded.value
    for part in path:
        value = value[part]  # type: ignore[index]  # the path was decoded, so it is there
    if not value:
        yield Hit(path, f"{dotted(path)} is empty: {consequence}", "Fill it, or remove it to say so openly.")


@check(
    "AP206",
    "field newer than the release",
    "warning",
    "A kube-apiserver older than a field drops it like any unknown one.",
)
def newer_field(context: Context) -> Iterator[Hit]:
    since = {"omitManagedFields": "1.23", "resourceNames": "1.8"}
    for unknown in context.draft.dropped:
        key = str(unknown.path[-1])
        if not unknown.repeated and key in known_fields(unknown.path):
            came = since.get(key) or ("1.9" if len(unknown.path) == 1 else "1.8")
            message = f"{dotted(unknown.path)} came with Kubernetes {came}; this release ignores it"
            yield Hit(unknown.path, message, "Remove it, or run a newer release.")
