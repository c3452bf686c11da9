"""What schemathesis has to be told about this API: how its binary bodies are sent, and what else is to be checked."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/ocsp-request", "application/pkcs10", "application/x-pki-message")
def ocsp_request(_context: Any, value: Any) -> bytes:
    """Bodies of other protocols are bytes."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.check
def refusals_say_what_is_wrong(_context: Any, response: Any, _case: Any) -> None:
    """Every refusal of the API is a problem (RFC 9457) that names what is wrong and says what to do next."""
    if response.status_code < 400 or (response.status_code == 404 and not response.content):
        return
    kind = response.headers.get("content-type", [""])[0]
    if not kind.startswith("application/problem+json"):
        return
    problem = response.json()
    assert problem["detail"], "the problem has no detail"
    assert problem["hint"], "the problem does not say what to do next"
    assert problem["status"] == response.status_code
    for one in problem.get("fields", ()):
        assert one["field"] is not None, "a field without a name"
        assert one["message"], "a field without a message"
