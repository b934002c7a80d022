"""`python -m edgekit`."""

import os
import sys

if __name__ == "__main__":
    # Python puts the working folder first: a user's onnx.py there must not stand for the package.
    if sys.path and sys.path[0] in ("", os.getcwd()) and not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    from edgekit.cli import main

    main()
