"""`certctl est`: certificates asked for as a device does, over EST (RFC 7030).

No API key is sent: EST takes a password, or a certificate that the client shows in TLS, or whatever else the server's
label is set to take.
"""

import getpass
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from certctl_cli.client import Server
from certctl_cli.command import Argument, Command, Record, Result, Table, Text, View, argument
from certctl_cli.profiles import SettingsError
from certctl_cli.wording import text
from certctl_core.errors import CertctlError, Invalid, UpstreamUnavailable

if TYPE_CHECKING:
    from cryptography import x509

    from certctl_adapters.est_client import Credentials, EstClient

_LARGEST_FILE: Final = 1 << 20
_LONGEST_PASSWORD: Final = 512
_TRIED: Final = "certctl-est-test.invalid"
"""What a throw-away key is enrolled for, if no other name is given: nobody's (RFC 6761 section 6.4)."""


def cacerts(server: Server, given: Namespace) -> Result:
    with _client(server, given) as client:
        return _certificates(given, client.ca_certificates(), {})


def csrattrs(server: Server, given: Namespace) -> Result:
    with _client(server, given) as client:
        wanted = client.csr_attributes()
    rows = [(one.name, text(list(one.about))) for one in wanted]
    view: View = Table(("ATTRIBUTE", "VALUES"), rows) if rows else Text("The server wants nothing in particular.")
    return Result(data=[{"attribute": one.name, "values": list(one.about)} for one in wanted], views=(view,))


def enroll(server: Server, given: Namespace) -> Result:
    request = _request(given)
    with _client(server, given) as client:
        return _issued(given, client.enrol(request))


def reenroll(server: Server, given: Namespace) -> Result:
    if given.cert is None:
        raise SettingsError("reenroll needs --cert and --key", hint="They are of the one that is to be renewed.")
    request = _request(given)
    with _client(server, given) as client:
        return _issued(given, client.renew(request))


def serverkeygen(server: Server, given: Namespace) -> Result:
    from certctl_core.pki import est_answers, keys

    if given.cert is None:
        raise SettingsError("serverkeygen needs --cert and --key", hint="The key that is made is enciphered for them.")
    request, recipient = _request(given), _recipient(given)
    with _client(server, given) as client, _new_key_file(given.key_out) as write_key:
        sealed = client.make_key(request)
        write_key(keys.to_pem(est_answers.open_key(sealed, recipient)).encode())
    return _certificates(given, sealed.certificates, {"key_file": str(given.key_out)})


def test(server: Server, given: Namespace) -> Result:
    """Everything that a device would ask, with a key that is thrown away, and what came of it."""
    from certctl_core.pki import csr, keys
    from certctl_core.pki.keys import KeyKind

    steps: list[_Step] = []
    with _client(server, given) as client:
        _try(steps, "cacerts", lambda: _named(client.ca_certificates()))
        _try(steps, "csrattrs", lambda: text([one.name for one in client.csr_attributes()]))
        if any(shown is not None for shown in (given.username, given.password_file, given.cert)):
            request = csr.build(keys.generate(KeyKind.ECDSA_P256), given.name, [given.name])
            _try(steps, "simpleenroll", lambda: _came(client.enrol(request)))
    rows = [(step.name, "works" if step.works else "fails", step.said) for step in steps]
    views: tuple[View, ...] = (Table(("OPERATION", "", "SAID"), rows),)
    notes = () if len(steps) > 2 else ("Nothing was enrolled: give --username, or --cert and --key, to try that too.",)
    data = [{"operation": step.name, "works": step.works, "said": step.said} for step in steps]
    return Result(data=data, views=views, notes=notes, failed=not all(step.works for step in steps))


@frozen
class _Step:
    name: str
    works: bool
    said: str


def _try(steps: list[_Step], name: str, ask: Callable[[], str]) -> None:
    """A server that cannot be reached at all ends the test: nothing else would work either."""
    try:
        steps.append(_Step(name, True, ask()))
    except UpstreamUnavailable:
        raise
    except CertctlError as problem:
        steps.append(_Step(name, False, str(problem)))


def _named(found: "Sequence[x509.Certificate]") -> str:
    return "; ".join(one.subject.rfc4514_string() for one in found)


def _came(issued: Any) -> str:
    from certctl_adapters.est_client import Later

    if isinstance(issued, Later):
        return f"taken; the certificate is to be fetched in {issued.seconds} seconds"
    return f"serial number {issued[0].serial_number:x}, until {issued[0].not_valid_after_utc:%Y-%m-%d %H:%M} UTC"


# --- what is sent -----------------------------------------------------------------------------------------------------


@contextmanager
def _client(server: Server, given: Namespace) -> "Iterator[EstClient]":
    from certctl_adapters.control_plane import Unreachable
    from certctl_adapters.est_client import EstClient

    settings = server.settings
    try:
        client = EstClient(
            settings.server_url,
            given.label,
            _credentials(given),
            ca_bundle=settings.trusted(),
            timeout=settings.timeout,
        )
    except Invalid as problem:
        raise SettingsError(problem.message, hint=problem.hint) from problem
    try:
        yield client
    except UpstreamUnavailable as problem:
        hint = problem.hint or f"Is a control plane with EST running at {settings.server_url}, and believed?"
        raise Unreachable(problem.message, hint=f"{hint} --server and --ca-bundle say which, and whom.") from problem
    finally:
        client.close()


def _credentials(given: Namespace) -> "Credentials":
    from certctl_adapters.est_client import Credentials

    if (given.cert is None) != (given.key is None):
        raise SettingsError("--cert and --key go together", hint="They are a certificate and its private key, in PEM.")
    return Credentials(user=given.username or "", password=_password(given), certificate=given.cert, key=given.key)


def _password(given: Namespace) -> str | None:
    """Out of a file, or typed once by whoever gave a user name; None when neither was given."""
    if given.password_file is not None:
        password = _first_line(_content(given.password_file, "the password"))
    elif given.username is None:
        return None
    elif sys.stdin.isatty():
        password = getpass.getpass(f"EST password for {given.username}: ")
    else:
        password = _first_line(sys.stdin.readline(_LONGEST_PASSWORD + 2).encode())
    if not password or len(password) > _LONGEST_PASSWORD:
        raise SettingsError("no password was given", hint="Type it, pipe it in, or name its file: --password-file.")
    return password


def _first_line(content: bytes) -> str:
    return content.decode("utf-8", "replace").partition("\n")[0].rstrip("\r")


def _request(given: Namespace) -> "x509.CertificateSigningRequest":
    from certctl_core.pki import csr

    return csr.read(_content(given.csr, "the CSR"))


def _recipient(given: Namespace) -> Any:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from certctl_core.pki import cms, keys, reading

    key = keys.from_pem(_content(given.key, "the key"))
    if not isinstance(key, RSAPrivateKey):
        raise Invalid("the key that is made can be enciphered for an RSA key only", hint="Show one with --cert, --key.")
    return cms.Recipient(reading.certificate(_content(given.cert, "the certificate")), key)


def _content(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE)
    except OSError as problem:
        raise SettingsError(f"cannot read {what} in {path}: {problem.strerror}") from problem


# --- what comes -------------------------------------------------------------------------------------------------------


def _issued(given: Namespace, came: Any) -> Result:
    from certctl_adapters.est_client import Later

    if isinstance(came, Later):
        words = f"There is no certificate yet. Send the same request again in {came.seconds} seconds."
        return Result(data={"status": "pending", "retry_after": came.seconds}, views=(Text(words),), failed=True)
    return _certificates(given, came, {"status": "issued"})


def _certificates(given: Namespace, found: "Sequence[x509.Certificate]", more: dict[str, str]) -> Result:
    """In the file that was named; without one they are the output."""
    from certctl_core.pki import bundle, reading

    pem = bundle.to_pem(*found)
    facts = [
        {
            "subject": one.subject.rfc4514_string(),
            "serial_number": f"{one.serial_number:x}",
            "not_after": f"{one.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
            "fingerprint_sha256": reading.fingerprint(one),
        }
        for one in found
    ]
    data = more | {"certificates": facts, "certificate_pem": pem}
    if given.out is None:
        return Result(data=data, views=(Text(pem.rstrip("\n")),))
    try:
        given.out.write_text(pem)
    except OSError as problem:
        raise SettingsError(f"cannot write {given.out}: {problem.strerror}") from problem
    rows = [("Certificates in", str(given.out))]
    if "key_file" in more:
        rows.append(("Key in", more["key_file"]))
    rows += [(name, facts[0][field]) for name, field in _SHOWN]
    return Result(data=data | {"file": str(given.out)}, views=(Record(rows),))


_SHOWN: Final = (("Subject", "subject"), ("Serial number", "serial_number"), ("Expires", "not_after"))


@contextmanager
def _new_key_file(path: Path) -> Iterator[Callable[[bytes], None]]:
    """A file for a private key that only its owner may read, made before there is a key that could get lost. One that
    is there already is another key, and stays."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as problem:
        raise SettingsError(f"cannot make {path}: {problem.strerror}", hint="--key-out names a new file.") from problem
    with os.fdopen(descriptor, "wb") as file:
        try:
            yield lambda content: _write(file, content)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _write(file: Any, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


# --- rows -------------------------------------------------------------------------------------------------------------


def _file(name: str, words: str, **how: Any) -> Argument:
    return argument(name, type=Path, metavar="FILE", help=words, **how)


_LABEL: Final = argument("--profile", dest="label", default="", metavar="LABEL", help="EST label; default: none")
_OUT: Final = _file("--out", "where to write the certificates, in PEM; default: the output")
_CSR: Final = _file("--csr", "the request: PKCS #10 in PEM or DER", required=True)
_WHO: Final = (
    argument("--username", metavar="NAME", help="who asks, for a password that is typed or piped in"),
    _file("--password-file", "where the password is, in the first line"),
    _file("--cert", "certificate to show in TLS, in PEM"),
    _file("--key", "its private key, in PEM without a password"),
)

COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        name="est cacerts", help="fetch the CAs of what a label issues", run=cacerts, arguments=(_LABEL, _OUT, *_WHO)
    ),
    Command(
        name="est csrattrs", help="fetch what a CSR for a label should have", run=csrattrs, arguments=(_LABEL, *_WHO)
    ),
    Command(name="est enroll", help="have a CSR signed", run=enroll, arguments=(_LABEL, _CSR, _OUT, *_WHO)),
    Command(
        name="est reenroll",
        help="renew the certificate that is shown with --cert",
        run=reenroll,
        arguments=(_LABEL, _CSR, _OUT, *_WHO),
    ),
    Command(
        name="est serverkeygen",
        help="have the server make a key, for the holder of the certificate that is shown with --cert",
        run=serverkeygen,
        arguments=(
            _LABEL,
            _CSR,
            _OUT,
            _file("--key-out", "where to write the key, in PEM; must not be there yet", required=True),
            *_WHO,
        ),
    ),
    Command(
        name="est test",
        help="try what a device would ask of a label; with credentials a certificate is issued",
        run=test,
        arguments=(
            _LABEL,
            argument("--name", default=_TRIED, metavar="NAME", help=f"what to enrol for; default: {_TRIED}"),
            *_WHO,
        ),
    ),
)
