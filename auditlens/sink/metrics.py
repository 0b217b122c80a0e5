"""What the sink counts, in Prometheus' words."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call]

_LATENCY = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The metrics of one sink; render() is the body of /metrics."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        p, r = "auditlens_sink_", self._registry
        self.received = Counter(p + "received", "Requests to /audit, by status answered", ["code"], registry=r)
        self.bytes = Counter(p + "received_bytes", "Bytes of acknowledged bodies, decompressed", registry=r)
        self.stored = Counter(p + "stored", "Events that became rows of the lake", registry=r)
        self.duplicate = Counter(p + "duplicate", "Events the lake held already", registry=r)
        self.rejected = Counter(
            p + "rejected", "Events and bodies that could not be read; they are in the table rejects", registry=r
        )
        self.latency = Histogram(
            p + "ack_seconds", "From the end of the headers to the acknowledgement", buckets=_LATENCY, registry=r
        )
        self.in_flight = Gauge(p + "in_flight_bytes", "Bytes of bodies that are being received or written", registry=r)
        self.connections = Gauge(p + "connections", "Open connections", registry=r)
        self.wal_bytes = Gauge(p + "wal_bytes", "Bytes in the WAL that are not in the lake yet", registry=r)
        self.wal_segments = Gauge(p + "wal_segments", "Segments in the WAL that are not in the lake yet", registry=r)
        self.wal_age = Gauge(p + "wal_age_seconds", "Age of the oldest of them", registry=r)
        self.drain_lag = Gauge(
            p + "drain_lag_seconds", "How long the last segment took from its first record to the lake", registry=r
        )
        self.drain_failures = Counter(p + "drain_failures", "Imports that failed and crashes of the drain", registry=r)
        self.folded = Counter(p + "folded_files", "Small files of the lake that became part of larger ones", registry=r)
        self.last_commit = Gauge(p + "last_commit_timestamp_seconds", "When a segment was last committed", registry=r)
        self.disk_free = Gauge(p + "disk_free_bytes", "Free bytes where the WAL lies", registry=r)
        self.ready = Gauge(p + "ready", "1 when bodies are accepted", registry=r)

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self._registry)
