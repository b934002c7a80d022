"""A bundle in service over HTTP. Needs the extra `serve`."""

from __future__ import annotations

from edgekit.serving.run import ServeOptions, serve

__all__ = ["ServeOptions", "serve"]
