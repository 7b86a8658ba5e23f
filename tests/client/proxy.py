"""A real TCP proxy on loopback that cuts connections where a test wants it: a bad network, without pretending."""

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut a connection after so many bytes towards the service, or from it; None lets all pass."""

    up: int | None = None
    down: int | None = None
    reset: bool = False


@dataclass(slots=True)
class Proxy:
    """Passes bytes between a client and a port of loopback. `cuts` tells of each connection, by its number from 0."""

    port_behind: int
    cuts: Callable[[int], Cut]
    denied: bytes = b""  # a GET that names it is cut off at once
    snaps: Callable[[bytes], bool] = lambda _piece: False  # whether to cut behind this piece of an answer
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)  # the first bytes of each connection's requests
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            cut, self.connections = self.cuts(self.connections), self.connections + 1
            try:
                service = socket.create_connection(("127.0.0.1", self.port_behind))
            except OSError:
                client.close()
                continue
            for source, target, limit, up in ((client, service, cut.up, True), (service, client, cut.down, False)):
                threading.Thread(target=self._pump, args=(source, target, limit, up, cut.reset), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, limit: int | None, up: bool, reset: bool) -> None:
        passed = 0
        try:
            while piece := source.recv(65536):
                if up and piece.partition(b" ")[0] in (b"GET", b"POST", b"HEAD", b"DELETE", b"PUT"):
                    self.heads.append(piece.partition(b"\r\n\r\n")[0])
                if limit is not None and passed + len(piece) >= limit:
                    target.sendall(piece[: limit - passed])
                    _cut(source, reset)
                    _cut(target, reset)
                    return
                passed += len(piece)
                denied = up and self.denied != b"" and piece.startswith(b"GET") and self.denied in piece
                if not denied:
                    target.sendall(piece)
                if denied or (not up and self.snaps(piece)):
                    _cut(source, False)
                    _cut(target, False)
                    return
        except OSError:
            pass
        _cut(target, False)


def _cut(connection: socket.socket, reset: bool) -> None:
    """Both sides hear of it: a plain end, or a reset."""
    try:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # It wakes the thread that reads there: until then the connection stays open.
        connection.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        connection.close()
    except OSError:
        pass
