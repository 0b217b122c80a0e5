"""AP7xx: what another Kubernetes release will not take, or no longer has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from auditlens.policy.apiserver import served
from auditlens.policy.lint.registry import Context, Hit, check, named

# (group, resource) -> the first minor release without it; "" is the whole group
_REMOVED: Final[dict[tuple[str, str], int]] = {
    ("extensions", ""): 22,
    ("settings.k8s.io", ""): 20,
    ("auditregistration.k8s.io", ""): 19,
    ("policy", "podsecuritypolicies"): 25,
}
_INSECURE_PORT_GONE: Final = 24  # system:unsecured came in by the port without authentication


@check(
    "AP701",
    "apiVersion that 1.24 refuses",
    "warning",
    "v1alpha1 and v1beta1 left with 1.24: the kube-apiserver will not start after that upgrade.",
)
def old_api_version(context: Context) -> Iterator[Hit]:
    version = context.policy.api_version
    if version != "audit.k8s.io/v1" and version in context.release.api_versions:
        if "audit.k8s.io/v1" in context.release.api_versions:
            fix = "Write `apiVersion: audit.k8s.io/v1` (`auditlens policy convert` does it)."
        else:
            fix = "Convert it with `auditlens policy convert` before the upgrade; this release wants it as it is."
        yield Hit(("apiVersion",), f"{version} is refused from 1.24 on", fix)


@check(
    "AP702",
    "resource no longer served",
    "info",
    "No request for it can come in any more.",
)
def removed_resource(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        for place, entry in enumerate(rule.resources):
            gone = _REMOVED.get((entry.group, ""))
            where = ("rules", index, "resources", place)
            if gone is not None and context.release.minor >= gone:
                message = f"group {entry.group} is not served since 1.{gone}"
                yield Hit((*where, "group"), message, _successor(entry.group, entry.resources))
                continue
            for number, text in enumerate(entry.resources):
                gone = _REMOVED.get((entry.group, text.partition("/")[0]))
                if gone is not None and context.release.minor >= gone:
                    message = f"{named(entry.group, text)} is not served since 1.{gone}"
                    yield Hit((*where, "resources", number), message, "Remove it.")


def _successor(group: str, resources: tuple[str, ...]) -> str:
    if group != "extensions":
        return "Remove it."
    homes = [home for text in resources for home in served.groups_serving(text.partition("/")[0])]
    new = sorted({home for home in homes if home != group}) or ["apps", "networking.k8s.io"]
    return f"Its resources are in {', '.join(new)} now."


@check(
    "AP703",
    "user that no longer exists",
    "info",
    "system:unsecured was whoever came in by the port without authentication, which 1.20 closed and 1.24 removed.",
)
def insecure_user(context: Context) -> Iterator[Hit]:
    if context.release.minor < _INSECURE_PORT_GONE:
        return
    for index, rule in context.rules:
        for place, user in enumerate(rule.users):
            if user == "system:unsecured":
                message = f"no request comes from {user} any more"
                fix = "Remove it." if len(rule.users) > 1 else f"Remove rules[{index}]."
                yield Hit(("rules", index, "users", place), message, fix)
