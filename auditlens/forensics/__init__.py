"""What happened to the cluster's state, and the requests that led there: each answer with its evidence and its limits.

`state.state`, `story.history`, `story.diff`, `story.blame`, `why.why`, `impact.impact`, `completeness.completeness`.
"""
