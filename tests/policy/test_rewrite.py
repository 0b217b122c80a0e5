"""convert() changes the apiVersion and nothing else; what dump() writes loads to the same policy."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlens.policy import Policy, PolicyError, Rule, convert, dump, load

from .helpers import HEAD, mean_policy

OLD = "# ours\napiVersion:   'audit.k8s.io/v1beta1'  # since 1.8\nkind: Policy\nrules:\n  - level: None   # quiet\n"


def test_convert_changes_the_version_and_keeps_the_rest() -> None:
    assert convert(OLD) == OLD.replace("v1beta1", "v1")
    alpha = '{"rules":[{"level":"None"}],"apiVersion":"audit.k8s.io/v1alpha1"}'
    assert convert(alpha) == alpha.replace("v1alpha1", "v1")
    anchored = OLD.replace("'audit.k8s.io/v1beta1'", "&v audit.k8s.io/v1beta1")
    assert load(convert(anchored)).rules
    assert convert(convert(OLD)) == convert(OLD)


def test_convert_refuses_what_would_still_be_refused() -> None:
    with pytest.raises(PolicyError, match="Unsupported value"):
        convert(OLD.replace("None", "Nothing"))
    with pytest.raises(PolicyError, match="v2"):
        convert(OLD.replace("v1beta1", "v2"))


def test_a_dumped_policy_loads_to_the_same() -> None:
    dice = random.Random(3)
    for _ in range(200):
        policy = mean_policy(dice)
        if not policy.rules:
            continue
        try:
            again = load(dump(policy))
        except PolicyError as error:  # the dice make policies that are refused, but never for how they are written
            assert not any(problem.code in ("syntax", "type") for problem in error.problems)
            continue
        assert again.model_dump() == policy.model_dump()
        assert again.warnings == ()


@given(st.lists(st.text(max_size=20), min_size=1), st.text(), st.text())
def test_any_text_comes_back_from_a_dump(texts: list[str], head: str, note: str) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    policy = Policy(rules=(Rule(level="None", users=tuple(texts), verbs=("on", "null", "1", "-", "a: b", "2001-01-01")),))
    again = load(dump(policy, {None: head, 0: note}))
    assert again.rules == policy.rules
    assert again.warnings == ()


def test_comments_stand_above_what_they_are_about() -> None:
    policy = load(HEAD + "omitStages: [Panic]\nrules:\n- level: None\n  users: [a]\n- level: Metadata\n")
    assert dump(policy, {None: "head\nof two", 1: "the rest\n- level: Request"}) == (
        "# head\n# of two\napiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [Panic]\nrules:\n"
        "  - level: None\n    users: [a]\n  # the rest\n  # - level: Request\n  - level: Metadata\n"
    )
