"""What a fresh server works out before its first reader comes: the figures every visit begins with, of the whole log."""

from __future__ import annotations

import logging
from typing import Any

import polars as pl

from auditlens.answers.questions import find
from auditlens.faults import trace
from parts import answers, charts, store, swimlanes
from parts.scope import Scope, exact


def up() -> None:
    """Open the lake and answer what pages ask first; whatever goes wrong here, the pages will say."""
    try:
        _up()
    except Exception as e:
        logging.getLogger("auditlens.dashboard").debug("warming up stopped\n%s", trace(e))


def _up() -> None:
    now = Scope(None, None, None, "UTC")
    ends = charts.extent(now) if store.exists() else None
    if ends is None:
        return
    of, (low, high) = store.lake().version(), ends
    seconds = charts.step(low, high)

    def figure(name: str, **params: Any) -> pl.DataFrame:
        return store.prepare(of, name, **now.params, **params)

    for name, params in (("shape", {"step": seconds}), ("import_sums", {}), ("totals", {})):
        figure(name, **params)
    for name, asked in (
        ("first-seen", {"before": exact(low + (high - low) / 4), "limit": 50}),
        ("top", {"limit": 20}),
        ("most-changed", {"limit": 20}),
    ):
        store.prepare_answer(of, name, **answers.asked(find(name), now, asked))
    figure("lane_filters")
    swimlanes.lanes(figure, (high - low).total_seconds(), swimlanes.LANES, by="objects", noise=False)
    for name, params in (("objects", {}), ("deciders", {}), ("pace", {"step": seconds})):
        figure(name, **params)
