"""`python -m edgekit.demo`: train a small network on scikit-learn's digits, then build it for this machine."""

__all__: list[str] = []
