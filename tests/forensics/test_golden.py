"""Each question's answer on the rare log is what it was; GOLDEN=1 writes it anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import auditlens
from auditlens.answers.questions import questions
from auditlens.lake import Lake
from auditlens.output import time_text
from tests import rare

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden"
MOST = 20
# what another run of the import changes
LEFT_OUT = {"instance", "imported_at", "import_id", "version", "per_second", "first_commit", "last_commit", "lag_s", "median_lag_s",
            "p95_lag_s"}  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("samples")
    (folder / "key").write_text("the key of the golden answers")
    return rare.lake(folder, redact_key=folder / "key")


def plain(value: Any) -> Any:
    """As JSON keeps it, wherever the samples lie."""
    if hasattr(value, "astimezone"):
        return time_text(value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


@pytest.mark.parametrize("name", sorted(questions()))
def test_golden_answers(samples: Lake, name: str) -> None:
    frame = auditlens.ask(samples, name, **({"audit_id": rare.CUT_OFF} if name == "request" else {})).frame
    assert frame.height, "a golden answer is not empty"
    rows = [
        {
            k: Path(v).name if k.endswith(("source", "evidence", "stream")) and v else plain(v)
            for k, v in row.items()
            if k not in LEFT_OUT
        }
        for row in frame.head(MOST).to_dicts()
    ]
    if questions()[name].group == "lake":  # in the order of commits, which is the machine's
        rows.sort(key=lambda row: json.dumps(row, default=str))
    found = {"rows": frame.height, "first": rows}
    path = GOLDEN / f"{name}.json"
    if os.environ.get("GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1, default=str) + "\n")
    assert json.loads(path.read_text()) == json.loads(json.dumps(found, default=str))
