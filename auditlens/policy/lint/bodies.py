"""AP5xx: rules that write secrets into the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from auditlens.policy.apiserver.model import GroupResources, Level, Rule
from auditlens.policy.apiserver.shadow import covered, overlap
from auditlens.policy.lint.registry import Context, Hit, check, join

_SENDS: Final = ("create", "update", "patch")  # whose request body holds the object
_RETURNS: Final = ("get", "list", "create", "update", "patch", "delete", "deletecollection")  # not watch
_FIX: Final = "Put a rule before it: level Metadata for {what}."


def _exposures(context: Context, entry: GroupResources, verbs: dict[Level, tuple[str, ...]]) -> Iterator[Hit]:
    """Find the rules that write bodies of these resources, unless proven that earlier rules take them all."""
    shown = join([f"{resource}" for resource in entry.resources])
    for index, rule in context.rules:
        risky = verbs.get(rule.level, ())
        asked = tuple(verb for verb in risky if not rule.verbs or verb in rule.verbs)
        if not asked:
            continue
        mine = [_left(context, rule, index, entry, resource, asked) for resource in entry.resources]
        exposed = [resource for resource, left in zip(entry.resources, mine, strict=True) if left]
        if exposed:
            what = join(exposed)
            message = f"rules[{index}] writes the content of {what} at level {rule.level}"
            yield Hit(("rules", index, "level"), message, _FIX.format(what=shown))


def _left(context: Context, rule: Rule, index: int, entry: GroupResources, resource: str, verbs: tuple[str, ...]) -> bool:
    target = GroupResources(group=entry.group, resources=(resource,))
    narrowed = overlap(rule, target, context.release)
    if narrowed is None:
        return False
    for verb in verbs:
        single = narrowed.model_copy(update={"verbs": (verb,)})
        if not covered(single, context.policy.rules[:index], context.release):
            return True
    return False


@check(
    "AP501",
    "secrets written into the log",
    "warning",
    "The log then holds every secret in clear (base64 is no protection), for all who can read it and as long as it is "
    "kept. Metadata already says who read or changed which secret.",
)
def secrets(context: Context) -> Iterator[Hit]:
    entry = GroupResources(group="", resources=("secrets",))
    yield from _exposures(context, entry, {"Request": _SENDS, "RequestResponse": _RETURNS})


@check(
    "AP502",
    "configmaps written into the log",
    "info",
    "ConfigMaps often hold credentials against all advice, and some are large and rewritten all the time.",
)
def configmaps(context: Context) -> Iterator[Hit]:
    entry = GroupResources(group="", resources=("configmaps",))
    yield from _exposures(context, entry, {"Request": _SENDS, "RequestResponse": _RETURNS})


@check(
    "AP503",
    "tokens written into the log",
    "warning",
    "Whoever reads the log can use them: the answer to serviceaccounts/token holds a fresh token, a TokenReview the "
    "token under review.",
)
def tokens(context: Context) -> Iterator[Hit]:
    issued = GroupResources(group="", resources=("serviceaccounts/token",))
    yield from _exposures(context, issued, {"RequestResponse": ("create",)})
    reviewed = GroupResources(group="authentication.k8s.io", resources=("tokenreviews",))
    yield from _exposures(context, reviewed, {"Request": ("create",), "RequestResponse": ("create",)})
