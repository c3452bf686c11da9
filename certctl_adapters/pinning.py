"""Trust in a control plane by the fingerprint of its CA, which somebody was told by another way.

The certificate is fetched over a connection that is not believed yet; only the fingerprint decides.
"""

import hmac
import ssl
from typing import Final

from certctl_adapters.http import HttpClient, trust_nobody_checked
from certctl_core.errors import Forbidden
from certctl_core.pki import bundle, reading

CA_PATH: Final = "/.well-known/certctl/ca.pem"
_MAX_BODY: Final = 1 << 17


def pinned_ca(url: str, fingerprint: str, *, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
    """The CA of the control plane at `url`, PEM, if `fingerprint` (SHA-256, lower-case hex) is its.

    Raises `Forbidden` when the server has another CA, and what `HttpClient` raises.
    """
    unchecked = HttpClient(url, tls=trust_nobody_checked(minimum=minimum), max_body=_MAX_BODY)
    try:
        offered = reading.certificates(unchecked.ask("GET", CA_PATH).body)
    finally:
        unchecked.close()
    for certificate in offered:
        if hmac.compare_digest(reading.fingerprint(certificate), fingerprint):
            return bundle.to_pem(certificate)
    raise Forbidden(
        f"the server's CA is sha256:{reading.fingerprint(offered[0])} and sha256:{fingerprint} was expected",
        hint="Compare the fingerprint with the one the operator was shown; if it is right, somebody is in between.",
    )
