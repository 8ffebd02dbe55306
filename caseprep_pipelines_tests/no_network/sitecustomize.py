"""Put first on PYTHONPATH: every attempt of a process to reach another host is refused and written down.

Python reads this module by its name when it starts. Local sockets stay allowed.
"""

import os
import socket

_connect, _getaddrinfo = socket.socket.connect, socket.getaddrinfo
_LOCAL = ("127.", "::1", "localhost")


def _note(target: object) -> None:
    with open(os.environ["NETWORK_ATTEMPTS"], "a") as file:  # noqa: PTH123 - nothing else is imported yet
        file.write(f"{target}\n")


def _refusing_connect(self: socket.socket, address: object) -> None:
    if self.family != socket.AF_UNIX and not str(address[0]).startswith(_LOCAL):  # type: ignore[index]
        _note(address)
        raise OSError("the network is blocked in this test")
    return _connect(self, address)  # type: ignore[arg-type]


def _refusing_lookup(host: object, *arguments: object, **named: object) -> object:
    if host is not None and not str(host).startswith(_LOCAL):
        _note(host)
        raise socket.gaierror("the network is blocked in this test")
    return _getaddrinfo(host, *arguments, **named)  # type: ignore[arg-type]


socket.socket.connect = _refusing_connect  # type: ignore[method-assign, assignment]
socket.getaddrinfo = _refusing_lookup  # type: ignore[assignment]
