"""A client's socket has from its listener how long the kernel waits for a client that is not there any more."""

from __future__ import annotations

import socket

from localai_flask.server.web.client_socket import ClientSocket, prepare_listener


def test_what_is_accepted_has_the_listeners_options() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        prepare_listener(listener, 7.0)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with ClientSocket.adopt(accepted, 7.0) as client:
                assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 14_000
                assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
