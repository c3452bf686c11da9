"""A small TLS server for machines without nginx: it serves the files it is told, and reads them again on SIGHUP.

    webserver.py FILE           serve
    webserver.py --check FILE   say whether FILE and what it names could be served, like `nginx -t`
    webserver.py --reload FILE  have the server of FILE read everything again, like `nginx -s reload`

Each line of FILE is `site PORT CERTIFICATE KEY`.
"""

import os
import signal
import socketserver
import ssl
import sys
import threading
from pathlib import Path
from typing import Any


class Unusable(Exception):
    """The configuration, or a file it names, cannot be served."""


def read(path: Path) -> dict[int, ssl.SSLContext]:
    """A TLS context for each port. Raises `Unusable` with the line that is wrong."""
    contexts: dict[int, ssl.SSLContext] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 4 or words[0] != "site" or not words[1].isdecimal():
            raise Unusable(f"[emerg] unknown directive {line.strip()!r} in {path}:{number}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(words[2], words[3])
        except (OSError, ssl.SSLError) as error:
            raise Unusable(f"[emerg] cannot load {words[2]} with {words[3]}: {error}") from error
        contexts[int(words[1])] = context
    return contexts


class Server(socketserver.ThreadingTCPServer):
    """One port. The handshake is done in the thread of the connection, with the context of that moment."""

    allow_reuse_address = True
    daemon_threads = True
    contexts: dict[int, ssl.SSLContext]

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        request.settimeout(10)
        context = self.contexts[self.server_address[1]]
        try:
            with context.wrap_socket(request, server_side=True) as secured:
                secured.recv(4096)
                secured.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nserved by the demo\n")
        except OSError:
            pass  # clients that only came to look at the certificate hang up

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        return None


def serve(path: Path) -> None:
    contexts = read(path)
    Server.contexts = contexts
    ports: set[int] = set()
    ended = threading.Event()

    def listen() -> None:
        for port in contexts.keys() - ports:
            server = Server(("127.0.0.1", port), socketserver.BaseRequestHandler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            ports.add(port)

    def reload(*_: object) -> None:
        try:
            contexts.update(read(path))
        except Unusable as error:
            print(error, file=sys.stderr, flush=True)
        else:
            listen()

    signal.signal(signal.SIGHUP, reload)
    _pid_file(path).write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    listen()
    ended.wait()


def _pid_file(path: Path) -> Path:
    return path.with_suffix(".pid")


def main(arguments: list[str]) -> int:
    path = Path(arguments[-1])
    try:
        if arguments[0] == "--check":
            read(path)
            print(f"{path}: syntax is ok, files can be served")
        elif arguments[0] == "--reload":
            read(path)
            os.kill(int(_pid_file(path).read_text()), signal.SIGHUP)
        else:
            serve(path)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
