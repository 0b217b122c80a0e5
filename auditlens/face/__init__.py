"""The names of `import auditlens`: each a function a user needs, with what it takes, what it returns and what it raises.

Every question about a log returns an `Answer`. The examples run, in a directory that has the sample logs.
"""

from auditlens.face.asking import ask, follow, import_files, questions, sql
from auditlens.face.logs import completeness, curl, trace
from auditlens.face.objects import blame, diff, history, impact, state, why

__all__ = [
    "ask",
    "blame",
    "completeness",
    "curl",
    "diff",
    "follow",
    "history",
    "impact",
    "import_files",
    "questions",
    "sql",
    "state",
    "trace",
    "why",
]
