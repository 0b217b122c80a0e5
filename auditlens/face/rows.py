"""Rows of dicts become an `Answer`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from auditlens.answers import limits as limits_of
from auditlens.answers.address import address
from auditlens.answers.answer import Answer
from auditlens.lake import Lake


def told(
    lake: Lake, rows: list[dict[str, Any]], limits: list[str], show: tuple[str, ...], title: str, tree: Any,
    object: str | None, namespace: str | None, cluster: str | None,
) -> Answer:  # fmt: skip
    """The answer about an object; with what is near where there is none."""
    from auditlens import engine

    answer = answered(rows, limits, show, title, tree)
    if object and not rows:
        of = engine.with_snapshot(lake, lambda con: address(con, object, namespace=namespace, cluster=cluster))
        answer.of, answer.near = of, engine.with_snapshot(lake, lambda con: limits_of.near(con, of))
    return answer


def answered(
    rows: list[dict[str, Any]], limits: Iterable[str], show: tuple[str, ...], title: str, tree: Any = None, text: str = ""
) -> Answer:
    """Rows of dicts as an answer; what a column holds of several types is JSON."""
    import polars as pl

    def cell(key: str, value: Any) -> Any:
        if isinstance(value, (dict, list)):
            return json.dumps(value, ensure_ascii=False)
        return str(value) if key in ("old", "new", "value") and value is not None else value

    flat = [{k: cell(k, v) for k, v in row.items()} for row in rows]
    frame = pl.DataFrame(flat, infer_schema_length=None) if flat else pl.DataFrame({c: [] for c in show}, strict=False)
    return Answer(frame, list(limits), total=frame.height, tree=tree, text=text, show=show, title=title)
