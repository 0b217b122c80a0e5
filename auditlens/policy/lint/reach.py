"""AP3xx: rules, or parts of them, that no request ever gets to."""

from __future__ import annotations

from collections.abc import Iterator

from auditlens.policy.apiserver.served import is_namespaced
from auditlens.policy.apiserver.shadow import dead_resources, shadowing
from auditlens.policy.lint.registry import Context, Hit, check, join

_FIRST_WINS = "The first rule that matches decides. All that this rule matches is proven to match before it."


def _rule_names(context: Context, indices: tuple[int, ...]) -> str:
    return join([f"rules[{i}] (line {context.place(('rules', i)).line})" for i in indices])


@check("AP301", "rule shadowed by an earlier one", "warning", _FIRST_WINS)
def shadowed(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        by = shadowing(context.policy.rules, index, context.release)
        if len(by) == 1:
            other = context.policy.rules[by[0]]
            loss = "" if other.level == rule.level else f", so its level {rule.level} never comes about"
            message = f"rules[{index}] never decides: {_rule_names(context, by)} matches all it does{loss}"
            fix = f"Move it before rules[{by[0]}], or remove it."
            yield Hit(("rules", index), message, fix)


@check("AP302", "rule shadowed by several earlier ones", "warning", _FIRST_WINS)
def shadowed_together(context: Context) -> Iterator[Hit]:
    for index, _ in context.rules:
        by = shadowing(context.policy.rules, index, context.release)
        if len(by) > 1:
            message = f"rules[{index}] never decides: {_rule_names(context, by)} together match all it does"
            yield Hit(("rules", index), message, "Move it before them, or remove it.")


@check(
    "AP303",
    "resource that matches nothing",
    "warning",
    "A resource is matched as `pods`, `pods/log`, `pods/*`, `*/log` or `*`; anything else is compared letter for "
    "letter with names that cannot be so.",
)
def dead_resource(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        for place, entry in enumerate(rule.resources):
            dead = dead_resources(entry, context.release)
            for text in dead:
                where = ("rules", index, "resources", place, "resources", entry.resources.index(text))
                whole = _all_dead(context, index)
                result = f"; rules[{index}] can match no request at all" if whole else ""
                yield Hit(where, f"{text!r} matches no request{result}", _living(text, context))


def _all_dead(context: Context, index: int) -> bool:
    rule = context.policy.rules[index]
    return all(e.resources and len(dead_resources(e, context.release)) == len(e.resources) for e in rule.resources)


def _living(text: str, context: Context) -> str:
    if text == "*/*":
        return 'Write "*": it covers all resources of the group and all their subresources.'
    if not context.release.resource_wildcards and "*" in text:
        return "Name the resources: this release knows no wildcards (1.10 and later do)."
    if text.endswith("/"):
        return f"Write {text.rstrip('/')!r}, or {text + '*'!r} to take the subresources along."
    if text.startswith("/"):
        return f"Write {'*' + text!r} for this subresource of any resource."
    if text.count("/") > 1:
        return "Write one resource and at most one subresource: pods/log."
    return "Name whole resources, or * alone: there are no globs within a name."


@check(
    "AP304",
    "resourceNames where no name is known",
    "warning",
    "The policy is asked before the body is read: a create has no name yet, a deletecollection never has one, and a "
    "list or watch has one only with the field selector metadata.name.",
)
def nameless(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        lost = [verb for verb in ("create", "deletecollection") if verb in rule.verbs]
        for place, entry in enumerate(rule.resources):
            if not (entry.resource_names and lost) or any("/" in text for text in entry.resources):
                continue  # a subresource is created under a name
            where = ("rules", index, "resources", place, "resourceNames")
            others = [verb for verb in rule.verbs if verb not in lost]
            message = f"resourceNames never match for {join(lost)}"
            if not others and len(rule.resources) == 1:
                message += f": rules[{index}] can match no request"
            fix = f"Take {join(lost)} out of this rule; give it a rule without resourceNames."
            yield Hit(where, message, fix)


@check(
    "AP305",
    "URL of a resource among nonResourceURLs",
    "warning",
    "A request for a resource is never matched by nonResourceURLs, whatever its path.",
)
def resource_url(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        for place, url in enumerate(rule.non_resource_urls):
            parts = url.rstrip("*").strip("/").split("/")
            needed = {"api": 3, "apis": 4}.get(parts[0])
            if needed is not None and len(parts) >= needed and all(parts[:needed]):
                message = f"{url!r} is the URL of a resource: this line matches no request"
                fix = f"Use `resources:` for {parts[needed - 1]!r} in a rule of its own."
                yield Hit(("rules", index, "nonResourceURLs", place), message, fix)


@check(
    "AP306",
    "URL with a query",
    "warning",
    "A rule is compared with the path alone; the query behind the question mark is cut off before.",
)
def query_url(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        for place, url in enumerate(rule.non_resource_urls):
            if "?" in url:
                path = url.partition("?")[0]
                message = f"{url!r} matches no request: a path has no '?'"
                yield Hit(("rules", index, "nonResourceURLs", place), message, f"Write {path!r}.")


@check(
    "AP307",
    "namespaces of a resource that has none",
    "warning",
    'A cluster-wide resource is requested with the namespace ""; no other namespace ever matches it.',
)
def cluster_resource_in_namespace(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        if not rule.namespaces or "" in rule.namespaces:
            continue
        for place, entry in enumerate(rule.resources):
            for number, text in enumerate(entry.resources):
                resource = text.partition("/")[0]
                # A request for one Namespace object carries its name as namespace.
                if resource == "namespaces" or is_namespaced(entry.group, resource) is not False:
                    continue
                where = ("rules", index, "resources", place, "resources", number)
                message = f"{text} has no namespace, so it never matches in a rule for {join(rule.namespaces)}"
                yield Hit(where, message, 'Give it a rule without namespaces, or add "" to them.')
