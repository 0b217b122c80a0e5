"""The audit-policy workbench: a policy read, explained, checked and compiled as kube-apiserver understands it."""

from __future__ import annotations

from auditlens.policy.errors import PolicyError, Position, Problem
from auditlens.policy.evaluator import Decision, Request, evaluate, request_of
from auditlens.policy.explanation import Explanation, Miss, Step, explain
from auditlens.policy.lint import Finding, as_json, as_sarif, as_text, lint
from auditlens.policy.loader import load
from auditlens.policy.model import LEVELS, STAGES, GroupResources, Level, Policy, Rule, Stage
from auditlens.policy.rewrite import convert, dump
from auditlens.policy.shadow import shadowing
from auditlens.policy.sql import rule_sql, to_sql

__all__ = [
    "LEVELS",
    "STAGES",
    "Decision",
    "Explanation",
    "Finding",
    "GroupResources",
    "Level",
    "Miss",
    "Policy",
    "PolicyError",
    "Position",
    "Problem",
    "Request",
    "Rule",
    "Stage",
    "Step",
    "as_json",
    "as_sarif",
    "as_text",
    "convert",
    "dump",
    "evaluate",
    "explain",
    "lint",
    "load",
    "request_of",
    "rule_sql",
    "shadowing",
    "to_sql",
]
