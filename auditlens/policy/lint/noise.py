"""AP65x: what fills logs in practice and answers no question. Each check asks the policy about a typical request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from auditlens.policy.apiserver.evaluator import Decision, Request, evaluate
from auditlens.policy.lint.registry import Context, Hit, check, join

_NODE: Final = ("system:nodes", "system:authenticated")


def _node(verb: str, group: str, resource: str, **rest: str) -> Request:
    return Request(
        user="system:node:node-1",
        groups=_NODE,
        verb=verb,
        resource_request=True,
        api_group=group,
        resource=resource,
        **rest,
    )


def _asks(context: Context, request: Request) -> Decision | None:
    """The decision about a request if it is written; None of a policy that cannot be asked."""
    if context.draft.refusal is not None:
        return None
    decision = evaluate(context.policy, request)
    return decision if decision.level != "None" and decision.rule is not None else None


def _by_rule(context: Context, requests: dict[str, Request]) -> dict[int, list[str]]:
    """The names of the requests that are written, under the rule that writes them."""
    written: dict[int, list[str]] = {}
    for name, request in requests.items():
        decision = _asks(context, request)
        if decision is not None and decision.rule is not None:
            written.setdefault(decision.rule, []).append(name)
    return written


@check(
    "AP651",
    "Kubernetes events logged",
    "info",
    "Every event object written to the API (pod scheduled, image pulled) becomes audit events, with nothing in them "
    "that an audit needs; often a tenth and more of a log.",
)
def events(context: Context) -> Iterator[Hit]:
    requests = {
        "events (core)": _node("create", "", "events", namespace="default"),
        "events (events.k8s.io)": _node("create", "events.k8s.io", "events", namespace="default"),
    }
    for rule, names in _by_rule(context, requests).items():
        one = len(names) == 1 and "k8s.io" in names[0] and sum(map(len, _by_rule(context, requests).values())) == 1
        reason = "; the other group is dropped, and components write to either" if one else ""
        fix = 'Add before it: level None, resources [{group: "", resources: [events]}, '
        fix += "{group: events.k8s.io, resources: [events]}]."
        yield Hit(("rules", rule), f"rules[{rule}] writes {join(names)}{reason}", fix)


@check(
    "AP652",
    "lease renewals logged",
    "info",
    "Every node and every leader-elected component renews its lease every few seconds, day and night.",
)
def leases(context: Context) -> Iterator[Hit]:
    lease = ("update", "coordination.k8s.io", "leases")
    requests = {
        "node heartbeats (leases in kube-node-lease)": _node(*lease, namespace="kube-node-lease", name="node-1"),
        "leader election (leases in kube-system)": Request(
            user="system:kube-scheduler",
            groups=("system:authenticated",),
            verb="update",
            resource_request=True,
            namespace="kube-system",
            api_group="coordination.k8s.io",
            resource="leases",
            name="kube-scheduler",
        ),
    }
    for rule, names in _by_rule(context, requests).items():
        fix = "Add before it: level None for verbs [get, update] of leases (coordination.k8s.io) by these users."
        yield Hit(("rules", rule), f"rules[{rule}] writes {join(names)}", fix)


@check(
    "AP653",
    "health checks logged",
    "info",
    "Load balancers and kubelets ask these URLs every few seconds.",
)
def health(context: Context) -> Iterator[Hit]:
    requests = {
        path: Request(user="system:anonymous", groups=("system:unauthenticated",), verb="get", path=path)
        for path in ("/healthz", "/livez", "/readyz")
    }
    for rule, names in _by_rule(context, requests).items():
        fix = "Add before it: level None, nonResourceURLs [/healthz*, /livez*, /readyz*]."
        yield Hit(("rules", rule), f"rules[{rule}] writes {join(names)}", fix)


@check(
    "AP654",
    "RequestReceived logged",
    "info",
    "It doubles the log: the later event of the same request repeats all it says. It only helps with requests that "
    "never ended because the server died.",
)
def request_received(context: Context) -> Iterator[Hit]:
    if "RequestReceived" in context.policy.omit_stages:
        return
    writes = [
        index for index, rule in context.rules if rule.level not in ("", "None") and "RequestReceived" not in rule.omit_stages
    ]
    if writes:
        shown = join([f"rules[{index}]" for index in writes])
        word = "does" if len(writes) == 1 else "do"
        message = f"two events for every request: {shown} {word} not leave RequestReceived out"
        yield Hit(("rules", writes[0]), message, "Add `omitStages: [RequestReceived]` to the policy.")


@check(
    "AP655",
    "managedFields logged",
    "info",
    "metadata.managedFields is a third and more of many objects, and says who owns which field: kubectl's concern.",
)
def managed_fields(context: Context) -> Iterator[Hit]:
    if not context.release.managed_fields or context.policy.omit_managed_fields:
        return
    for index, rule in context.rules:
        if rule.level in ("Request", "RequestResponse") and not rule.omit_managed_fields:
            message = f"rules[{index}] writes objects with their managedFields"
            yield Hit(("rules", index, "level"), message, "Add `omitManagedFields: true` to the policy.")
            return


@check(
    "AP656",
    "node status reports with bodies",
    "info",
    "Every kubelet reports the status of its node and pods all day; the bodies are large and nearly equal.",
)
def node_status(context: Context) -> Iterator[Hit]:
    requests = {
        "nodes/status": _node("patch", "", "nodes", subresource="status", name="node-1"),
        "pods/status": _node("patch", "", "pods", subresource="status", namespace="default", name="web-1"),
    }
    for rule, names in _by_rule(context, requests).items():
        if context.policy.rules[rule].level == "RequestResponse":
            message = f"rules[{rule}] writes {join(names)} by kubelets with request and answer"
            fix = "Add before it: level Request or Metadata for userGroups [system:nodes], verbs [update, patch]."
            yield Hit(("rules", rule), message, fix)
