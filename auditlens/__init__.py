"""Kubernetes audit-log and apiserver-log forensics: logs become typed Parquet, questions become answers with evidence."""
