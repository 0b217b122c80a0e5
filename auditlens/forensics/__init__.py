"""What happened to the cluster's state, and the requests that led there: each answer with its evidence and its limits.

`state.state`, `diff.diff`, `diff.blame`, `why.why`, `impact.impact`, `completeness.completeness`.
"""
