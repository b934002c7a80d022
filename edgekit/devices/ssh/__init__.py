"""Boards over SSH: asyncssh here, a Python 3.6 with numpy there, nothing installed.

`device` is what others use. Below it `following` runs one job to its end, `reaching` keeps a link up, `link` speaks
over it, `connecting` makes it, `arriving` brings our code to the board. What runs there: `board/remote.py`.
"""

from __future__ import annotations

from edgekit.devices.ssh.device import SshDevice

__all__ = ["SshDevice"]
