"""The control plane as its clients see it: the command line and the MCP server call it through here.

HTTPS with TLS 1.3 and nothing else, because every call carries an API key.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from certctl_adapters.http import TIMEOUT, Answer, HttpClient, error_of, trust
from certctl_core.errors import Invalid, UpstreamUnavailable

_OTHER_NAME: Final = {62, 64}
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL."""

_TRUST: Final = (
    "Name the CA to believe with --ca-bundle FILE or CERTCTL_SERVER_CA_BUNDLE_PATH; "
    "the server keeps its own as tls/ca.pem in its data folder."
)


class Unreachable(UpstreamUnavailable):
    """No answer came, or not one of a control plane. `hint` says what to do, by the names of our settings."""


class ControlPlane:
    """Calls with one API key. Safe to share between threads. `close` it."""

    def __init__(
        self, url: str, *, api_key: str = "", ca_bundle: bytes | None = None, timeout: timedelta = TIMEOUT
    ) -> None:
        """`ca_bundle` are the only CAs to believe, PEM; without it those of the machine. Raises `Invalid`."""
        if not url.lower().startswith("https://"):
            raise Invalid(f"{url!r} is not an https URL", hint="It looks like https://certctl.example.com:8443.")
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise Invalid("the API key holds characters that no API key has")
        tls = trust(ca_bundle, minimum=ssl.TLSVersion.TLSv1_3)
        self._http = HttpClient(url, tls=tls, headers=headers, timeout=timeout)
        self._url = url

    def close(self) -> None:
        self._http.close()

    def call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any | None = None
    ) -> Answer:
        """The answer, whatever its status. Of `query`, what is None is left out. Raises `Unreachable`."""
        try:
            return self._http.call(method, _with_query(path, query), body=body, idempotent=method != "POST")
        except UpstreamUnavailable as problem:
            raise Unreachable(problem.message, hint=self._advice(problem)) from problem

    def ask(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any | None = None) -> Any:
        """The JSON that is answered, None where there is none. Raises what a status other than 2xx means."""
        return self.meaning(self.call(method, path, query=query, body=body))

    def meaning(self, answer: Answer) -> Any:
        """The JSON of an answer, None where there is none. Raises what a status other than 2xx means."""
        if not 200 <= answer.status < 300:
            raise error_of(answer)
        if not answer.body:
            return None
        try:
            return answer.json()
        except UpstreamUnavailable as problem:
            raise Unreachable(problem.message, hint=self._advice(problem)) from problem

    @contextmanager
    def stream(self, path: str, *, query: Mapping[str, Any] | None = None) -> Iterator[Iterator[bytes]]:
        """The parts of a long answer as they arrive. Raises `Unreachable`, also while they do, and what a status other
        than 2xx means."""
        try:
            with self._http.stream(_with_query(path, query)) as arriving:
                if 200 <= arriving.status < 300:
                    yield arriving.parts
                    return
                refusal = arriving.whole()
        except UpstreamUnavailable as problem:
            raise Unreachable(problem.message, hint=self._advice(problem)) from problem
        raise error_of(refusal)

    def _advice(self, problem: BaseException) -> str:
        for reason in _reasons(problem):
            if isinstance(reason, ssl.SSLCertVerificationError):
                return self._about_names() if reason.verify_code in _OTHER_NAME else _TRUST
            if isinstance(reason, ssl.SSLError):
                return f"Is an HTTPS server with TLS 1.3 behind {self._url}?"
        return f"Is a control plane running at {self._url}? --server or CERTCTL_SERVER_URL names another one."

    def _about_names(self) -> str:
        host = urlsplit(self._url).hostname
        return (
            f"Call the server by a name that is in its certificate: --server or CERTCTL_SERVER_URL, which says {host}."
        )


def _with_query(path: str, query: Mapping[str, Any] | None) -> str:
    given = {name: _in_query(value) for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _in_query(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return ",".join(_in_query(one) for one in value)
        case _:
            return str(value)


def _reasons(problem: BaseException | None) -> Iterator[BaseException]:
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__
