"""Audit policies: what is wrong with one, what it would write of a lake's requests, what it lets be answered, and the best one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditlens.answers.answer import Answer, existing
from auditlens.answers.window import Time, Window, window
from auditlens.face.rows import answered
from auditlens.lake import Lake
from auditlens.policy.apiserver.versions import DEFAULT_VERSION

if TYPE_CHECKING:
    from auditlens.policy import Policy, Request

_FRAMES = ("rules", "contributors", "changes")


def lint(*policies: str | Path, kubernetes_version: str = DEFAULT_VERSION) -> Answer:
    """What kube-apiserver refuses of a policy, and what it takes without a word and that is wrong all the same.

    Args:
        policies: files, names of presets, or text of policies (whatever has a line's end in it, or is a JSON object).
        kubernetes_version: release of the kube-apiserver.

    Returns:
        A row a finding in the order of the text: `id`, `severity` (error, warning, info), `file`, `line`, `column`, `rule` (from 0),
        `message`, `why`, `fix`. None is a clean policy. `text` tells them to people.

    Raises:
        UsageError: there is no such file or preset, or no such release.

    >>> lint("rules: [{level: Metadata, verb: [get]}]\\n").frame.select("id", "line").rows()[-1]
    ('AP201', 1)
    """
    from auditlens.policy import as_text
    from auditlens.policy import lint as run
    from auditlens.policy.requirements.presets import text_of

    found = []
    for policy in policies:
        text, file = text_of(policy)
        found += run(text, kubernetes_version, file)
    rows = [asdict(finding) for finding in found]
    show = ("file", "line", "severity", "id", "message", "fix")
    return answered(rows, (), show, "What is wrong with a policy", rows, as_text(found))


def simulate(
    lake: Lake | str,
    policy: Policy | str | Path,
    *,
    against: Policy | str | Path | None = None,
    show: str = "rules",
    top: int = 5,
    since: Time = None,
    until: Time = None,
    cluster: str | None = None,
    kubernetes_version: str = DEFAULT_VERSION,
) -> Answer:
    """What a policy would have written of the requests of a lake.

    Args:
        lake: the lake, or its directory.
        policy: the policy; or its file, a preset's name, or its text, as for `lint`.
        against: compare with this policy instead of with the log as it is.
        show: which rows: `rules`, a row a rule and stage; `contributors`, the largest of each; `changes`, what is lost and gained.
        top: so many contributors of each rule.
        since, until, cluster: only these requests.
        kubernetes_version: release of the kube-apiserver, for a policy that is not loaded yet.

    Returns:
        The rows asked for. `tree` has all three and the sums: {"now", "then", "against", "unmatched", "per_day" (by which sums are
        multiplied), "dead" (rules nothing came to), "rules", "contributors", "changes", "limits"}.

    Raises:
        UsageError: there is no such lake, policy or kind of rows, or a time is none.
        PolicyError: kube-apiserver would refuse the policy.

    >>> tried = simulate("lake", "minimal")
    >>> tried.tree["then"]["bytes"] < tried.tree["now"]["bytes"]
    True
    """
    from auditlens.errors import UsageError
    from auditlens.policy import simulate as run

    if show not in _FRAMES:
        raise UsageError(f"{show!r} is not one of {', '.join(_FRAMES)}")
    lake = existing(lake)
    when = window(lake, since, until)
    other = _loaded(against, kubernetes_version) if against is not None else None
    done = run(
        lake, _loaded(policy, kubernetes_version), against=other, since=when.since, until=when.until, cluster=cluster, top=top
    )
    frame = getattr(done, show)
    tree = {
        "now": asdict(done.now), "then": asdict(done.then), "against": done.against and asdict(done.against),
        "unmatched": asdict(done.unmatched), "per_day": done.traffic.per_day, "dead": list(done.dead),
        **{name: getattr(done, name).to_dicts() for name in _FRAMES}, "limits": list(done.notes),
    }  # fmt: skip
    return Answer(frame, list(done.notes), total=frame.height, tree=tree, title="What a policy would write")


def coverage(policy: Policy | str | Path, keep: Iterable[str] = ("all",), *, kubernetes_version: str = DEFAULT_VERSION) -> Answer:
    """Which questions a log written under a policy can answer, which not, and which rules would be needed.

    Args:
        policy: as for `simulate`.
        keep: questions, groups of them, or `all`.
        kubernetes_version: release of the kube-apiserver, for a policy that is not loaded yet.

    Returns:
        A row a question: `answerable` (yes, except, partly, no), `withheld` and `by_choice` (what it would not see, in words),
        `rules_needed` (YAML). `tree` has the same with lists.

    Raises:
        UsageError: there is no such policy, question or group.
        PolicyError: kube-apiserver would refuse the policy.

    >>> coverage("minimal", ["dry-runs"]).frame.select("question", "answerable").rows()
    [('dry-runs', 'partly')]
    """
    from auditlens.policy import coverage as run
    from auditlens.policy import coverage_brief, coverage_frame

    found = run(_loaded(policy, kubernetes_version), keep)
    brief = coverage_brief(found).select("withheld", "by_choice").rename({"withheld": "lost", "by_choice": "lost_by_choice"})
    frame = coverage_frame(found).hstack(brief)
    tree = [
        {"question": a.requirement.name, "answerable": a.grade, "withheld": list(a.withheld(by_choice=False)),
         "by_choice": list(a.withheld(by_choice=True)), "rules_needed": a.rules_text() or None} for a in found
    ]  # fmt: skip
    columns = ("question", "answerable", "lost", "lost_by_choice")
    return Answer(frame, total=frame.height, tree=tree, show=columns, title="What a policy lets be answered")


def recommend(
    lake: Lake | str | None = None,
    keep: Iterable[str] = ("all",),
    *,
    budget: str | None = None,
    base: Policy | str | Path | None = None,
    since: Time = None,
    until: Time = None,
    cluster: str | None = None,
    kubernetes_version: str = DEFAULT_VERSION,
) -> Answer:
    """The smallest policy that keeps questions answerable.

    Args:
        lake: where the traffic is measured; None, or one that is not there: from the requirements alone.
        keep: questions and groups that must stay answerable, or `all`.
        budget: `2GB/day`, or `20%` of the log now.
        base: also try to drop what this policy drops.
        since, until, cluster: what of the lake is measured.
        kubernetes_version: release of the kube-apiserver.

    Returns:
        `text` is the policy, commented YAML. A row a requirement, where they do not fit the budget: `saved` bytes a day without it,
        `alone` bytes a day of it alone. `tree` is {"policy", "fits", "budget", "bytes_per_day", "now", "predicted", "given_up",
        "costs"}.

    Raises:
        UsageError: there is no such question, group or policy, or the budget is no size.

    >>> best = recommend("lake", ["who-deleted"])
    >>> best.tree["fits"], best.text.splitlines()[0]
    (True, '# Keeps answerable: who-deleted; failed logins in any case.')
    """
    from auditlens.policy import recommend as run

    where = lake if isinstance(lake, Lake) or lake is None else Lake(lake)
    where = where if where is not None and where.exists() else None
    when = Window() if where is None else window(where, since, until)
    done = run(
        where, keep, budget=budget, base=None if base is None else _loaded(base, kubernetes_version),
        kubernetes_version=kubernetes_version, since=when.since, until=when.until, cluster=cluster,
    )  # fmt: skip
    costs = [asdict(cost) for cost in done.costs]
    tree = {
        "policy": done.text, "fits": done.fits, "budget": done.budget, "bytes_per_day": done.bytes_per_day, "now": asdict(done.now),
        "predicted": asdict(done.predicted), "given_up": list(done.given_up), "costs": costs,
    }  # fmt: skip
    limits = [f"given up: {what}" for what in done.given_up]
    if not done.traffic.events:
        limits.append("volumes are unmeasured: the lake holds no audit events")
    show = ("requirement", "saved", "alone")
    return answered(costs, limits, show, "The smallest policy that keeps questions answerable", tree, done.text)


def explain(
    policy: Policy | str | Path, *requests: Request | Mapping[str, Any], kubernetes_version: str = DEFAULT_VERSION
) -> Answer:
    """Which rule of a policy decides about a request, and why the earlier ones do not.

    Args:
        policy: as for `simulate`.
        requests: `policy.Request`s, or mappings with user, groups, verb, resourceRequest, namespace, apiGroup, resource, subresource,
            name, path.
        kubernetes_version: release of the kube-apiserver, for a policy that is not loaded yet.

    Returns:
        A row a rule that was looked at: `request` (from 0), `rule`, `line`, `level`, `decides`, `why` it does not, what of it the
        server ignores. `tree` is a list of {"level", "rule", "omit_stages", "steps"}, one a request; `text` tells them to people.

    Raises:
        UsageError: there is no such policy.
        PolicyError: kube-apiserver would refuse the policy.

    >>> told = explain("minimal", {"user": "alice", "verb": "get", "path": "/healthz"})
    >>> told.tree[0]["level"], told.frame["decides"].to_list()[-1]
    ('None', True)
    """
    from auditlens.policy import explain as run

    loaded = _loaded(policy, kubernetes_version)
    found = [run(loaded, request) for request in requests]
    rows: list[dict[str, Any]] = []
    tree = []
    for number, one in enumerate(found):
        steps = [
            {"rule": s.rule, "line": s.line, "level": s.level, "decides": s.decides, "why": "; ".join(m.why for m in s.missed) or None,
             "ignored": ", ".join(s.ignored) or None} for s in one.steps
        ]  # fmt: skip
        rows += [{"request": number, **step} for step in steps]
        decision = one.decision
        tree.append({"level": decision.level, "rule": decision.rule, "omit_stages": list(decision.omit_stages), "steps": steps})
    show = ("request", "rule", "line", "level", "decides", "why")
    return answered(rows, (), show, "Which rule decides", tree, "".join(f"{one}\n" for one in found))


def infer(
    lake: Lake | str,
    *,
    against: Policy | str | Path | None = None,
    show: str = "",
    since: Time = None,
    until: Time = None,
    cluster: str | None = None,
    kubernetes_version: str = DEFAULT_VERSION,
) -> Answer:
    """The policy that a log was written under, as far as the log tells.

    Args:
        lake: the lake, or its directory.
        against: a policy that may have been it, as for `simulate`.
        show: `policy`, `recorded` or `differences` (from `against`); default: the differences where there is one to differ from.
        since, until, cluster: what of the lake is looked at.
        kubernetes_version: release of the kube-apiserver.

    Returns:
        A row a verb and resource recorded, or a row a difference. `tree` is {"policy", "agreement" (share of the events it explains),
        "recorded", "differences", "limits"}; `text` is the policy, commented YAML, where that is to be shown.

    Raises:
        UsageError: there is no such lake or policy, or nothing in it to infer from.

    >>> infer("lake").tree["agreement"] > 0.9
    True
    """
    from auditlens.errors import UsageError
    from auditlens.policy import infer as run

    wanted = show or ("policy" if against is None else "differences")
    if wanted not in ("policy", "recorded", "differences"):
        raise UsageError(f"{show!r} is not one of policy, recorded, differences")
    lake = existing(lake)
    when = window(lake, since, until)
    other = None if against is None else _loaded(against, kubernetes_version)
    done = run(lake, against=other, since=when.since, until=when.until, cluster=cluster)
    frame = done.differences if wanted == "differences" else done.recorded
    tree = {
        "policy": done.text, "agreement": done.agreement, "recorded": done.recorded.to_dicts(),
        "differences": done.differences.to_dicts(), "limits": list(done.notes),
    }  # fmt: skip
    text = done.text if wanted == "policy" else ""
    return Answer(frame, list(done.notes), total=frame.height, tree=tree, text=text, title="The policy a log was written under")


def _loaded(policy: Policy | str | Path, kubernetes_version: str) -> Policy:
    from auditlens.policy import load
    from auditlens.policy.requirements.presets import text_of

    if not isinstance(policy, (str, Path)):
        return policy
    text, file = text_of(policy)
    return load(text, kubernetes_version, file)
