"""coverage() proves what a policy withholds from a question, for requests nobody has made yet too."""

from __future__ import annotations

import pytest

from auditlens.answers.questions import Logged
from auditlens.policy import coverage, coverage_frame, load
from auditlens.policy.requirements.coverage import describe
from auditlens.policy.requirements.presets import load_preset
from auditlens.policy.requirements.requirement import Requirement, find_requirements

HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
DELETES = Logged(level="RequestResponse", verbs=("delete",))
EXEC = Logged(verbs=("create",), resources=(("", ("pods/exec", "pods/attach")),))

CASES = [
    ("rules: [{level: RequestResponse}]", DELETES, "yes", []),
    ("rules: [{level: RequestResponse, verbs: [delete]}]", DELETES, "yes", []),
    ("rules: [{level: Metadata}]", DELETES, "partly", ["rules[0] takes delete: level Metadata instead of RequestResponse"]),
    ("rules: [{level: None}]", DELETES, "no", ["rules[0] takes delete: not logged"]),
    ("rules: [{level: RequestResponse, verbs: [get]}]", DELETES, "no", ["no rule takes delete: no rule matches what the others leave"]),
    (
        "rules: [{level: None, userGroups: ['system:nodes']}, {level: RequestResponse}]",
        DELETES, "except", ["rules[0] takes delete by system:nodes: not logged"],
    ),
    # what an earlier rule takes, a later one cannot withhold
    ("rules: [{level: RequestResponse, verbs: [delete]}, {level: None}]", DELETES, "yes", []),
    (
        "rules: [{level: Metadata, resources: [{resources: [secrets]}]}, {level: RequestResponse}]",
        DELETES, "yes", ["rules[0] takes delete of secrets (core): level Metadata instead of RequestResponse"],
    ),
    (
        "rules: [{level: None, resources: [{resources: ['pods/*']}]}, {level: Metadata}]",
        EXEC, "no", ["rules[0] takes create of pods/exec, pods/attach (core): not logged"],
    ),
    ("rules: [{level: None, nonResourceURLs: ['*']}, {level: Metadata}]", EXEC, "yes", []),
    ("rules: [{level: None, resources: [{group: apps}]}, {level: Metadata}]", EXEC, "yes", []),
    (
        "omitStages: [ResponseStarted]\nrules: [{level: Metadata}]",
        EXEC, "except", ["rules[0] takes create of pods/exec, pods/attach (core): the stage ResponseStarted is left out"],
    ),
    (
        "omitManagedFields: true\nrules: [{level: RequestResponse}]",
        Logged(level="RequestResponse", verbs=("patch",), managed_fields=True), "except",
        ["rules[0] takes patch: managedFields are left out"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "need", "grade", "losses"), CASES)
def test_what_is_withheld(policy: str, need: Logged, grade: str, losses: list[str]) -> None:
    answer = coverage(load(HEAD + policy), ["w"], [Requirement("w", "W", (need,))])[0]
    assert (answer.grade, [describe(loss) for loss in answer.losses]) == (grade, losses)
    by_choice = [loss for loss in answer.losses if loss.by_choice]
    assert bool(answer.rules) == (len(answer.losses) > len(by_choice))


def test_a_question_that_needs_nothing_can_always_be_answered() -> None:
    assert coverage(load(HEAD + "rules: [{level: None}]"), ["log-volume"])[0].grade == "yes"


def test_the_forensic_preset_answers_every_question() -> None:
    assert {a.requirement.name for a in coverage(load_preset("forensic")) if a.grade in ("partly", "no")} == set()


def test_the_rule_that_is_needed_is_given_as_yaml() -> None:
    frame = coverage_frame(coverage(load(HEAD + "rules: [{level: None}]"), ["who-deleted"]))
    needed = frame["rules_needed"][0]
    assert load(f"{HEAD}rules:\n{needed}").rules[0].level == "RequestResponse"


def test_groups_and_all_are_requirements() -> None:
    every = {w.name for w in find_requirements()}
    assert {w.name for w in find_requirements(["objects"])} < every
    assert {w.name for w in find_requirements(["objects", "who-deleted"])} == {w.name for w in find_requirements(["objects"])}
