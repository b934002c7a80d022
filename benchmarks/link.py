"""A way to a board that can be cut, stopped and mended: a TCP proxy on this machine."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Forwards 127.0.0.1:`port` to `target`. `cut`: all ends and nothing answers; `freeze`: all stays and is silent."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.flowing = threading.Event()
        self.flowing.set()
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.server: socket.socket | None = None
        self.port = 0
        self.mend()

    def mend(self) -> None:
        """Answer again, and let what was stopped flow."""
        self.flowing.set()
        if self.server is None:
            self.server = socket.create_server(("127.0.0.1", self.port), backlog=16)
            self.port = self.server.getsockname()[1]
            threading.Thread(target=self._accept, args=(self.server,), daemon=True).start()

    def cut(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        for pair in self.pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self.pairs.clear()

    def freeze(self) -> None:
        self.flowing.clear()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except ConnectionRefusedError:
                near.close()
                continue
            except OSError:
                return
            self.pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                self.flowing.wait()
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
