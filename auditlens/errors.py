"""Everything auditlens refuses, with what to do next in the message."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell sees."""

    OK = 0
    FAILED = 1  # a known error: the message says which
    USAGE = 2
    REJECTS = 3  # --strict, and something was rejected
    FINDINGS = 4  # verify or lint found something
    INTERRUPTED = 130


class AuditlensError(Exception):
    """A known error; its text is fit to show: what, where, what to do next."""

    exit_code = ExitCode.FAILED


class UsageError(AuditlensError):
    """The caller asked for something that does not exist or does not fit."""

    exit_code = ExitCode.USAGE


class LakeError(AuditlensError):
    """The lake is missing, unreadable or not what its log says."""


class QueryError(AuditlensError):
    """A query was refused, failed or ran out of its limits."""
