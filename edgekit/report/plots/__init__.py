"""The report's plots, a file per plot; `all.py` is what the page asks for."""
