"""The audit-policy workbench: a policy read, explained, checked, tried on a lake's traffic, recommended, applied, inferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditlens.policy.apiserver.errors import PolicyError, Position, Problem
from auditlens.policy.apiserver.evaluator import Decision, Request, evaluate, request_of
from auditlens.policy.apiserver.explanation import Explanation, Miss, Step, explain
from auditlens.policy.apiserver.loader import load
from auditlens.policy.apiserver.model import LEVELS, STAGES, GroupResources, Level, Policy, Rule, Stage
from auditlens.policy.apiserver.rewrite import convert, dump
from auditlens.policy.apiserver.shadow import shadowing
from auditlens.policy.apiserver.sql import rule_sql, to_sql
from auditlens.policy.lint import Finding, as_json, as_sarif, as_text, lint

if TYPE_CHECKING:
    from auditlens.policy.requirements.coverage import Answerable, coverage, coverage_brief, coverage_frame
    from auditlens.policy.requirements.recommendation import Recommendation, recommend
    from auditlens.policy.simulation.filtering import Applied, Filter, apply
    from auditlens.policy.simulation.inference import Inferred, infer
    from auditlens.policy.simulation.simulation import Simulation, simulate

# What needs the lake or the questions is imported when it is asked for: a lint must not wait for it.
_LATER = {
    "Answerable": "requirements.coverage",
    "coverage": "requirements.coverage",
    "coverage_brief": "requirements.coverage",
    "coverage_frame": "requirements.coverage",
    "Applied": "simulation.filtering",
    "Filter": "simulation.filtering",
    "apply": "simulation.filtering",
    "Inferred": "simulation.inference",
    "infer": "simulation.inference",
    "Recommendation": "requirements.recommendation",
    "recommend": "requirements.recommendation",
    "Simulation": "simulation.simulation",
    "simulate": "simulation.simulation",
}

__all__ = [
    "LEVELS",
    "STAGES",
    "Answerable",
    "Applied",
    "Decision",
    "Explanation",
    "Filter",
    "Finding",
    "GroupResources",
    "Inferred",
    "Level",
    "Miss",
    "Policy",
    "PolicyError",
    "Position",
    "Problem",
    "Recommendation",
    "Request",
    "Rule",
    "Simulation",
    "Stage",
    "Step",
    "apply",
    "as_json",
    "as_sarif",
    "as_text",
    "convert",
    "coverage",
    "coverage_brief",
    "coverage_frame",
    "dump",
    "evaluate",
    "explain",
    "infer",
    "lint",
    "load",
    "recommend",
    "request_of",
    "rule_sql",
    "shadowing",
    "simulate",
    "to_sql",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
