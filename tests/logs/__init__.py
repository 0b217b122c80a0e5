"""Tests of the apiserver's own log: formats, import, questions, commands."""
