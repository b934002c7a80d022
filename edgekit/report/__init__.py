"""What a person reads of a `Result`: one HTML file that works offline, and a summary in the terminal."""

from edgekit.report.drawings import stored_drawings
from edgekit.report.html import render_html, write_report
from edgekit.report.terminal import print_summary

__all__ = ["print_summary", "render_html", "stored_drawings", "write_report"]
