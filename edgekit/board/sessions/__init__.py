"""Sessions: an artifact loaded by its runtime. A runtime is one file here and one row in opening.py."""
