"""A small TLS server for machines without a web server: it shakes hands, hangs up, and loads its files again on SIGHUP.

sighup_server.py serve PORT CERTIFICATE KEY
sighup_server.py check CERTIFICATE KEY
"""

import signal
import socket
import ssl
import sys


def _load(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def serve(port: int, certificate: str, key: str) -> None:
    """Until SIGTERM. Files that do not load leave what is served as it is."""
    current = [_load(certificate, key)]

    def load_again(_number: int, _frame: object) -> None:
        try:
            current[0] = _load(certificate, key)
        except (OSError, ValueError) as problem:
            sys.stderr.write(f"keeping the old certificate: {problem}\n")

    signal.signal(signal.SIGHUP, load_again)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            plain, _ = listener.accept()
            plain.settimeout(5)
            try:
                current[0].wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()


def check(certificate: str, key: str) -> int:
    """0 when the files fit together; otherwise says why they do not."""
    try:
        _load(certificate, key)
    except (OSError, ValueError) as problem:
        sys.stderr.write(f"cannot load {certificate}: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    if verb == "check":
        sys.exit(check(*arguments))
    serve(int(arguments[0]), *arguments[1:])
