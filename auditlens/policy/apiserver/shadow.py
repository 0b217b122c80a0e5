"""A rule said to be shadowed can match no request: everything it matches is proven to match an earlier rule.

A rule is a union of boxes, one for each choice of user, group, verb, namespace, resource and name it lists; a box is
inside another if it is in every dimension. A box inside a box of one earlier rule never gets to the later rule, so
a rule is shadowed if each of its boxes is (by one rule or by several together). What is not proven is not said:
two rules that share out an unlisted value between them (all users with and all without a group) do not count.

The proof takes a resource and a subresource as what a URL can hold: path segments, without a slash in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from auditlens.policy.apiserver.model import GroupResources, Rule
from auditlens.policy.apiserver.versions import Features

__all__ = ["Box", "ResourcePattern", "boxes", "dead_resources", "overlap", "patterns", "shadowing"]

MAX_BOXES = 20_000  # a rule that lists more is only held against single rules

ANY = None  # every value of a dimension


@dataclass(frozen=True, slots=True)
class ResourcePattern:
    """What one entry of `resources` matches: a resource and a subresource, ANY or exact ("" is none)."""

    resource: str | None
    subresource: str | None

    def inside(self, other: ResourcePattern) -> bool:
        return _inside(self.resource, other.resource) and _inside(self.subresource, other.subresource)


@dataclass(frozen=True, slots=True)
class Box:
    """The requests with these values; `path` is set (a prefix if `prefix`) for requests of no resource."""

    user: str | None
    group: str | None  # one of the user's groups
    verb: str | None
    of_resource: bool
    namespace: str | None = ANY
    api_group: str | None = ANY
    pattern: ResourcePattern = ResourcePattern(ANY, ANY)
    name: str | None = ANY
    path: str = ""
    prefix: bool = True

    def inside(self, other: Box) -> bool:
        """True if every request of this box is in the other one."""
        if self.of_resource != other.of_resource:
            return False
        if not (_inside(self.user, other.user) and _inside(self.group, other.group) and _inside(self.verb, other.verb)):
            return False
        if not self.of_resource:
            if other.prefix:
                return self.path.startswith(other.path)
            return not self.prefix and self.path == other.path
        return (
            _inside(self.namespace, other.namespace)
            and _inside(self.api_group, other.api_group)
            and _inside(self.name, other.name)
            and self.pattern.inside(other.pattern)
        )


def _inside(value: str | None, other: str | None) -> bool:
    return other is ANY or value == other


def shadowing(rules: Sequence[Rule], index: int, release: Features) -> tuple[int, ...]:
    """Return the earlier rules that leave a rule nothing to match, () if it is not proven that it is shadowed.

    One rule alone is preferred; several are returned in order, each needed for some box.
    A rule that matches nothing by itself (see `dead_resources`) is not called shadowed.
    """
    return covered(rules[index], rules[:index], release)


def covered(rule: Rule, earlier: Sequence[Rule], release: Features) -> tuple[int, ...]:
    """Return which of the earlier rules take everything that a rule would match, () if that is not proven."""
    if _size(rule) > MAX_BOXES:
        return ()
    mine = list(boxes(rule, release))
    if not mine:
        return ()
    theirs = [list(boxes(other, release)) if _size(other) <= MAX_BOXES else [] for other in earlier]
    holders: list[set[int]] = []
    for box in mine:
        inside = {i for i, others in enumerate(theirs) if any(box.inside(other) for other in others)}
        if not inside:
            return ()
        holders.append(inside)
    alone = set.intersection(*holders)
    if alone:
        return (min(alone),)
    return tuple(sorted({min(inside) for inside in holders}))


def boxes(rule: Rule, release: Features) -> Iterator[Box]:
    """Yield the boxes a rule is made of; none if it can match nothing at all."""
    who = list(product(rule.users or (ANY,), rule.user_groups or (ANY,), rule.verbs or (ANY,)))
    scopes = list(_resource_scopes(rule, release)) if rule.takes != "non-resource" else []
    paths = _paths(rule) if rule.takes != "resource" else []
    for user, group, verb in who:
        for namespace, api_group, pattern, name in scopes:
            yield Box(user, group, verb, True, namespace, api_group, pattern, name)
        for path, prefix in paths:
            yield Box(user, group, verb, False, path=path, prefix=prefix)


def overlap(rule: Rule, entry: GroupResources, release: Features) -> Rule | None:
    """Return the rule narrowed to some resources of one group, None if it cannot match any of them.

    The resources are exact ("secrets", "serviceaccounts/token"), without names.
    """
    if rule.takes == "non-resource":
        return None
    wanted: list[GroupResources] = []
    for own in rule.resources or (GroupResources(group=entry.group),):
        if own.group != entry.group and not (own.group == "*" and release.group_wildcard):
            continue
        for resource in entry.resources:
            target = patterns(resource, release)
            mine = [p for text in own.resources or ("*",) for p in _patterns(text, own, release)]
            if any(t.inside(p) for t in target for p in mine):
                narrowed = GroupResources(group=entry.group, resources=(resource,), resource_names=own.resource_names)
                wanted.append(narrowed)
    return rule.model_copy(update={"resources": tuple(wanted)}) if wanted else None


def patterns(text: str, release: Features) -> tuple[ResourcePattern, ...]:
    """Return what one entry of `resources` matches; () if it can match nothing.

    >>> patterns("pods/*", features("1.36"))
    (ResourcePattern(resource='pods', subresource=None),)
    """
    if not release.subresources:  # 1.7 compares the resource alone
        return () if "/" in text else (ResourcePattern(text, ANY),)
    found = []
    if release.resource_wildcards and text == "*":
        return (ResourcePattern(ANY, ANY),)
    resource, slash, subresource = text.partition("/")
    if not slash:
        return (ResourcePattern(text, ""),)
    if subresource and "/" not in subresource:
        found.append(ResourcePattern(resource, subresource))
    if release.resource_wildcards:
        if resource == "*" and subresource and "/" not in subresource:
            found.append(ResourcePattern(ANY, subresource))
        if text.endswith("/*") and "/" not in text[:-2]:
            found.append(ResourcePattern(text[:-2], ANY))
    widest = [p for p in found if not any(p is not other and p.inside(other) for other in found)]
    return tuple(widest)


def dead_resources(entry: GroupResources, release: Features) -> tuple[str, ...]:
    """Return the entries of `resources` no URL can match: `pods/`, `a/b/c`, `po*`, and `*/*`, which wants a "*" by name."""
    return tuple(text for text in entry.resources if not any(map(_alive, patterns(text, release))))


def _alive(pattern: ResourcePattern) -> bool:
    """No resource is called "", and none has a star in its name."""
    return pattern.resource != "" and "*" not in (pattern.resource or "") + (pattern.subresource or "")


def _patterns(text: str, entry: GroupResources, release: Features) -> tuple[ResourcePattern, ...]:
    if not entry.resources:
        return (ResourcePattern(ANY, ANY),)
    return patterns(text, release)


def _resource_scopes(rule: Rule, release: Features) -> Iterator[tuple[str | None, str | None, ResourcePattern, str | None]]:
    entries: list[tuple[str | None, ResourcePattern, str | None]] = []
    for entry in rule.resources:
        group = ANY if entry.group == "*" and release.group_wildcard else entry.group
        names: tuple[str | None, ...] = (ANY,)
        if entry.resources and entry.resource_names and release.resource_names:
            names = entry.resource_names
        for text in entry.resources or ("",):
            entries += [(group, pattern, name) for pattern in _patterns(text, entry, release) for name in names]
    if not rule.resources:
        entries = [(ANY, ResourcePattern(ANY, ANY), ANY)]
    namespaces: tuple[str | None, ...] = rule.namespaces or (ANY,)
    for namespace in namespaces:
        for group, pattern, name in entries:
            yield namespace, group, pattern, name


def _paths(rule: Rule) -> list[tuple[str, bool]]:
    if not rule.non_resource_urls:
        return [("", True)]
    return [(spec.rstrip("*") if spec.endswith("*") else spec, spec.endswith("*")) for spec in rule.non_resource_urls]


def _size(rule: Rule) -> int:
    size = max(len(rule.users), 1) * max(len(rule.user_groups), 1) * max(len(rule.verbs), 1)
    entries = sum(max(len(entry.resources), 1) * max(len(entry.resource_names), 1) * 2 for entry in rule.resources)
    return size * max(entries * max(len(rule.namespaces), 1), len(rule.non_resource_urls), 1)
