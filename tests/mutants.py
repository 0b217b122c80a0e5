"""Mutants: small faults put into the modules that promise most, one at a time, and whether their tests notice.

    python tests/mutants.py                      every module, a sample of each
    python tests/mutants.py redact wal --all     two of them, every mutant
    python tests/mutants.py --share 15           fail when more than 15 % of those tried survive

A mutant lives in a copy of the checkout. Each runs in a process forked from one that has the libraries loaded already, stops
at the first test that fails, and is killed when it takes ten times as long as the tests without a fault: that, too, is noticed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Tests of made events come before those of captures, which take minutes: most mutants die of the first.
_MADE = " ".join(f"tests/forensics/test_{name}.py" for name in ("small", "doubt", "rules", "owners"))

# Module by the word it is asked for: where it is, and the tests that promise what it does.
MODULES: dict[str, tuple[str, str]] = {
    "redact": ("auditlens/redact/body.py", "tests/test_redact.py"),
    "wal": ("auditlens/sink/wal.py", "tests/sink/test_wal.py"),
    "commit": ("auditlens/importing/commit.py", "tests/test_doubles.py tests/test_exactly_once.py"),
    "duplicates": ("auditlens/importing/duplicates.py", "tests/test_doubles.py tests/test_exactly_once.py"),
    "replay": ("auditlens/forensics/replay.py", f"{_MADE} tests/forensics/test_state.py"),
    "why": ("auditlens/forensics/why.py", f"{_MADE} tests/forensics/test_why.py"),
    "roots": ("auditlens/forensics/roots.py", f"{_MADE} tests/forensics/test_causes.py"),
    "evaluator": ("auditlens/policy/apiserver/evaluator.py", "tests/policy/test_evaluator.py tests/policy/test_peers.py"),
    "requestinfo": ("auditlens/requestinfo.py", "tests/test_requestinfo.py"),
}
SAMPLE = 25  # mutants of a module unless more, fewer or all are asked for

# Survivors that change nothing anybody could see, as `module: the mutated line`.
EQUIVALENT = frozenset((
    "requestinfo: return -(2)",  # any number below zero is no index
    "wal: self._lock = -(2)",  # so here, and descriptors below 3 are those of every process
    "wal: if (self._lock > 0):",
    "wal: if self._lock >= (1):",
    "wal: directory.mkdir(mode=(449), parents=True, exist_ok=True)",  # chmod is next
    "wal: return self.sink, 1, (2)",  # numbers are reserved at once where there was no sink.json
    "wal: aged = self._fd is not None and (time.monotonic() - self._first > self._seal_after)",  # a clock's tick
    "duplicates: if (file.min_time or file.max_time)",  # a file has both or neither
    # a record tells its number: where counting begins is nobody's business, as long as none comes twice
    "wal: self._cipher, self._count = self._vault.cipher(key) if self._vault else None, (1)",
))  # fmt: skip

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "fullmatch": "match", "startswith": "endswith"}
_Edit = tuple[ast.expr | ast.stmt, ast.expr | ast.stmt]


def mutations(tree: ast.Module) -> Iterator[_Edit]:
    """Each fault as the node it replaces and the node that comes in its place."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left, [op], [right]) if type(op) in _COMPARED:
                yield node, ast.Compare(left, [_COMPARED[type(op)]()], [right])
            case ast.BoolOp(op, values):
                yield node, ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            case ast.UnaryOp(ast.Not(), operand):
                yield node, operand
            case ast.BinOp(left, ast.Add(), right):
                yield node, ast.BinOp(left, ast.Sub(), right)
            case ast.BinOp(left, ast.Sub(), right):
                yield node, ast.BinOp(left, ast.Add(), right)
            case ast.Constant(bool(value)):
                yield node, ast.Constant(not value)
            case ast.Constant(int(value)):
                yield node, ast.Constant(value + 1)
            case ast.Call(ast.Attribute(value, name), args, keywords) if name in _NAMES:
                yield node, ast.Call(ast.Attribute(value, _NAMES[name], ast.Load()), args, keywords)
            case ast.Call(ast.Name(name), args, keywords) if name in _NAMES:
                yield node, ast.Call(ast.Name(_NAMES[name], ast.Load()), args, keywords)
            case ast.Continue():
                yield node, ast.Break()
            case ast.Return(value) if value is not None and not isinstance(value, ast.Constant):
                yield node, ast.Return(ast.Constant(None))


def mutants(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, what it became, and the whole text of each mutant; annotations and docstrings are left alone."""
    tree = ast.parse(text)
    lines = text.splitlines(keepends=True)
    for old, new in mutations(tree):
        first, last = lines[old.lineno - 1], lines[(old.end_lineno or old.lineno) - 1]
        if re.match(r"\s*(@|from |import |__all__)", first):
            continue
        head = first.encode()[: old.col_offset].decode()
        tail = last.encode()[old.end_col_offset :].decode()
        written = ast.unparse(ast.fix_missing_locations(new))
        written = written if isinstance(new, ast.stmt) else f"({written})"
        mutated = "".join((*lines[: old.lineno - 1], head, written, tail, *lines[old.end_lineno :]))
        with contextlib.suppress(SyntaxError):
            compile(mutated, "mutant", "exec")
            yield old.lineno, f"{head}{written}{tail}".strip(), mutated


def passes(copy: Path, tests: str, limit: float) -> bool:
    """Whether the tests pass in the copy; what takes longer than `limit` seconds has failed."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(copy)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.environ["PYTHONPATH"] = str(copy)  # of the processes that tests start
        sys.path.insert(0, str(copy))
        import pytest

        arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow and not browser", *tests.split()]
        os._exit(pytest.main(arguments))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> int:
    """Try the mutants and name those that no test noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", choices=[*MODULES, []], metavar="MODULE", help=", ".join(MODULES))
    parser.add_argument("--all", action="store_true", help="every mutant instead of a sample")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="mutants of a module")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument("--share", type=float, default=100, help="per cent that may survive")
    given = parser.parse_args()
    import duckdb  # noqa: F401  (loaded once, for all that are forked)

    tried = survived = 0
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "auditlens"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__", ".*cache"))
        shared = ROOT.parent / "shared"
        if shared.is_dir():
            (Path(name) / "shared").symlink_to(shared)
        for word in given.modules or MODULES:
            path, tests = MODULES[word]
            text = (ROOT / path).read_text(encoding="utf-8")
            start = time.monotonic()
            if not passes(copy, tests, 3600):
                raise SystemExit(f"{word}: its tests fail without any fault")
            limit = 10 * (time.monotonic() - start) + 10
            found = list(mutants(text))
            chosen = found if given.all else random.Random(given.seed).sample(found, min(given.sample, len(found)))
            alive = []
            for line, change, mutated in sorted(chosen):
                (copy / path).write_text(mutated, encoding="utf-8")
                if f"{word}: {change}" not in EQUIVALENT and passes(copy, tests, limit):
                    alive.append((line, change))
            (copy / path).write_text(text, encoding="utf-8")
            tried, survived = tried + len(chosen), survived + len(alive)
            print(f"{word}: {len(alive)} of {len(chosen)} survive ({len(found)} mutants in all)", flush=True)
            for line, change in alive:
                print(f"  {path}:{line}: {change}", flush=True)
    print(f"{survived} of {tried} survive: {100 * survived / max(tried, 1):.0f} %")
    return 1 if 100 * survived > given.share * max(tried, 1) else 0


if __name__ == "__main__":
    sys.exit(main())
