"""The names of `import auditlens`: each a function a user needs, with what it takes, what it returns and what it raises.

Every question about a log returns an `Answer`. The examples run, in a directory that has the sample logs.
"""

from auditlens.face.asking import ask, find, follow, import_files, questions, sql
from auditlens.face.logs import completeness, curl, evidence, trace
from auditlens.face.objects import blame, diff, history, impact, state, why
from auditlens.face.policies import coverage, explain, infer, lint, recommend, simulate

__all__ = [
    "ask",
    "blame",
    "completeness",
    "coverage",
    "curl",
    "diff",
    "evidence",
    "explain",
    "find",
    "follow",
    "history",
    "impact",
    "import_files",
    "infer",
    "lint",
    "questions",
    "recommend",
    "simulate",
    "sql",
    "state",
    "trace",
    "why",
]
