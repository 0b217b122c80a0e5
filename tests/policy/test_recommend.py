"""A recommendation keeps its promises: answers stay, the prediction holds, and no rule of it is there for nothing."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from auditlens.answers.questions import Logged, questions
from auditlens.errors import UsageError
from auditlens.lake import Lake
from auditlens.policy import GroupResources, Policy, Rule, as_text, coverage, evaluate, lint, load, recommend
from auditlens.policy.requirements.recommendation import Recommendation, budget_bytes
from auditlens.policy.requirements.requirement import FAILED_LOGINS, SENSITIVE, Requirement
from auditlens.policy.simulation.filtering import apply
from auditlens.policy.simulation.request_counts import empty
from auditlens.policy.simulation.volume import Volume

from .helpers import attributes
from .proof import CAPPED, CAPTURE, answers, filtered, lake_of, needs_captures

QUICK = (["denied", "who-deleted"], ["history"])
SLOW = (
    ["secret-access", "rbac-changes"],
    ["evictions", "watch-load"],
    ["all"],
    ["access"],
    ["objects"],
    ["traffic"],
    ["errors"],
    ["exec-sessions"],
)


@dataclass(frozen=True)
class Log:
    folder: Path
    log: Path
    raw: Lake
    capped: Lake


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """A third of the captured log: every answer to be compared costs time."""
    folder = tmp_path_factory.mktemp("part")
    lines = gzip.decompress(CAPTURE.read_bytes()).splitlines(keepends=True)
    (folder / "part.log").write_bytes(b"".join(lines[3000:5500]))
    return made(folder, folder / "part.log")


@pytest.fixture(scope="module")
def whole_log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return made(tmp_path_factory.mktemp("whole"), CAPTURE)


def made(folder: Path, log: Path) -> Log:
    return Log(folder, log, lake_of(log, folder / "raw"), filtered(CAPPED, log, folder, "capped")[0])


def prove(log: Log, keep: list[str], more: bool) -> None:
    """Filter the captured log through what is recommended, and through each version of it that lacks a rule."""
    done = recommend(log.raw, keep)
    check_text(done)
    # failed logins are kept with everything, and are of `denied`
    names = tuple(w.name for w in done.requirements if w.needs)
    lake, size = filtered(done.policy, log.log, log.folder, "-".join(keep))
    assert abs(done.predicted.bytes / size - 1) < 0.05
    left = answers(lake, names, more)
    capped = answers(log.capped, names, more)
    assert left.keys() == capped.keys()
    for asked, rows in left.items():
        assert rows == capped[asked] or known_less(rows, capped[asked]), asked
    whole = answers(log.raw, names, more)
    # content of secrets, configmaps and tokens apart, the answers are those of the whole log
    for asked, rows in left.items():
        assert all("configmaps" in row for row in set(whole[asked]) - set(rows) - set(capped[asked])), asked
    for index in range(len(done.policy.rules)):
        rules = (*done.policy.rules[:index], *done.policy.rules[index + 1 :])
        without = done.policy.model_copy(update={"rules": rules})
        if apply(without, [log.log], log.folder / "without.log").bytes_out > size:
            continue
        other = lake_of(log.folder / "without.log", log.folder / f"{'-'.join(keep)}-{index}")
        broken = answers(other, names, more) != left or logins(other) != logins(lake)
        # in this log nobody patches a pod to be privileged: such requests are there, but none of them is an answer
        assert broken or grades(without, names) != grades(done.policy, names), f"rules[{index}] of {keep} is there for nothing"


def known_less(rows: list[str], capped: list[str]) -> bool:
    """The same rows, of which a few do not tell what a write changed: only reads, which are given up, show how one before it ended."""
    few, many = ([json.loads(r) for r in some] for some in (sorted(set(rows) - set(capped)), sorted(set(capped) - set(rows))))
    told = ("changed", "no_op")
    rest = [[{k: v for k, v in r.items() if k not in told} for r in some] for some in (few, many)]
    return rest[0] == rest[1] and len(few) <= len(rows) / 100 and all(r.get(k) is None for r in few for k in told)


def grades(policy: Policy, names: tuple[str, ...]) -> list[str]:
    return [a.grade for a in coverage(policy, names)]


def logins(lake: Lake) -> list[str]:
    return [row for row in answers(lake, ("denied",), False)["denied {}"] if '"code":401' in row]


def check_text(done: Recommendation) -> None:
    assert load(done.text, done.policy.kubernetes_version).warnings == ()
    assert load(done.text).rules == done.policy.rules
    assert as_text(lint(done.text)) == ""


@needs_captures
@pytest.mark.parametrize("keep", QUICK, ids="-".join)
def test_a_recommendation_holds(log: Log, keep: list[str]) -> None:
    prove(log, [k for k in keep if k in questions()], False)


@needs_captures
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("keep", [*QUICK, *SLOW], ids="-".join)
def test_a_recommendation_holds_for_every_way_to_ask(whole_log: Log, keep: list[str]) -> None:
    prove(whole_log, keep, True)


@needs_captures
def test_a_budget_that_cannot_hold_what_is_asked_says_what_they_cost(log: Log) -> None:
    done = recommend(log.raw, ["who-deleted", "denied"], budget="5%")
    assert not done.fits
    assert {cost.requirement for cost in done.costs} == {"who-deleted", "denied"}
    assert all(0 < cost.alone <= done.bytes_per_day for cost in done.costs)
    assert recommend(log.raw, ["denied"], budget="90%").fits


@needs_captures
def test_a_base_is_where_noise_is_looked_for(log: Log) -> None:
    drop = Rule(level="None", verbs=("list",), resources=(GroupResources(resources=("pods",)),))
    base = Policy(rules=(drop, Rule(level="Metadata")))
    assert drop in recommend(log.raw, ["denied"], base=base).policy.rules or "list" in recommend(log.raw, ["denied"]).text
    assert drop not in recommend(log.raw, ["top"], base=base).policy.rules


@pytest.mark.parametrize("keep", [["all"], ["denied"], ["who-deleted"], ["log-volume"], ["history", "denied"]], ids="-".join)
def test_without_traffic_the_requirements_are_all_there_is(keep: list[str]) -> None:
    done = recommend(None, keep)
    check_text(done)
    assert "unmeasured" in done.text
    unknown = evaluate(done.policy, attributes(None, verb="get", resource="pods", namespace="a"))
    assert unknown.level != "None"
    assert "ResponseStarted" not in unknown.omit_stages


@pytest.mark.parametrize("version", ["1.20", "1.29", "1.36"])
def test_it_is_for_a_release(version: str) -> None:
    done = recommend(None, ["history"], kubernetes_version=version)
    assert load(done.text, version).omit_managed_fields is (version != "1.20")


def test_secrets_are_never_above_metadata_whatever_is_wished() -> None:
    greedy = Requirement("greedy", "Everything", (Logged(level="RequestResponse"),))
    scoped = Requirement("scoped", "Secrets", (Logged(level="RequestResponse", resources=(("", ("secrets", "pods")),)),))
    for requirement in (greedy, scoped):
        policy = recommend(None, [requirement.name], more=[requirement]).policy
        for entry in SENSITIVE.resources:
            for text in entry.resources:
                resource, _, sub = text.partition("/")
                for verb in ("get", "list", "create", "update", "patch", "delete", "deletecollection"):
                    request = attributes(verb=verb, resource=resource, subresource=sub, apiGroup=entry.group)
                    assert evaluate(policy, request).level in ("None", "Metadata")
        pods = attributes(verb="create", resource="pods", namespace="a", groups=("system:authenticated",))
        assert evaluate(policy, pods).level == "RequestResponse"


def test_what_nobody_declared_is_taken_for_everything() -> None:
    done = recommend(None, ["mystery"], more=[Requirement("mystery", "?", (Logged(),), declared=False)])
    assert [rule.level for rule in done.policy.rules] == ["Metadata"]
    assert "nobody has written down" in done.text


def test_a_requirement_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="who-deleted"):
        recommend(None, ["who-delted"])


def test_budgets() -> None:
    now, traffic = Volume(10, 1000), empty()
    assert budget_bytes("2GB/day", now, traffic) == 2_000_000_000
    assert budget_bytes("500 MiB", now, traffic) == 500 << 20
    assert budget_bytes("1.5k/day", now, traffic) == 1500
    for wrong in ("much", "20%", "-1GB"):
        with pytest.raises(UsageError):
            budget_bytes(wrong, now, traffic)
    assert FAILED_LOGINS.needs[0].codes == ("401",)


def test_questions_that_do_not_say_what_they_need_logged() -> None:
    """They are taken for Metadata of everything; the list is for whoever writes them."""
    lacking = [q.name for q in questions().values() if q.logged is None]
    if lacking:
        pytest.skip(f"no `logged` in {', '.join(lacking)}")
