"""Everything that is to be on record is: each action of the wire contract is written by some use case."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.house.project import modules, tree

ACTIONS = tuple(
    """
    agent_registered agent_retired agent_retirement_cascaded approval_approved approval_expired approval_rejected
    approval_requested bulk_reassignment_initiated bulk_renewal_initiated bulk_revocation_initiated
    certificate_archived certificate_created certificate_retrieved certificate_revoked certificate_updated
    create_agent_group create_issuer create_owner create_profile create_target create_team csr_submitted
    delete_agent_group delete_issuer delete_owner delete_profile delete_target delete_team deployment_job_completed
    deployment_job_dispatched deployment_job_failed deployment_jobs_created deployment_triggered est_server_keygen
    est_simple_enroll est_simple_reenroll scep_pkcsreq
    discovery_cert_claimed discovery_cert_dismissed discovery_scan_completed expiration_alert_sent
    expiration_alert_skipped_no_channels export_pem export_pkcs12 health_check_acknowledged health_check_created
    health_check_deleted health_check_status_transition health_check_updated issuer_test_connection_failed
    issuer_test_connection_success job_approved job_rejected job_retry job_status_reported job_timeout
    job_verification_failed job_verification_success network_scan_target_created network_scan_target_deleted
    policy_rule_created policy_rule_deleted policy_rule_updated policy_violation_detected renewal_awaiting_csr
    renewal_job_completed renewal_job_created renewal_job_failed renewal_triggered short_lived_cert_expired
    target_test_connection_failed target_test_connection_success update_agent_group update_issuer update_owner
    update_profile update_target update_team
    """.split()  # noqa: SIM905 - one string a line would be eighty lines
)

NOT_HERE = {
    "expiration_alert_skipped_invalid_channel": "a policy that names a channel we do not have is refused when written",
    "job_offline_agent_reap": "what an agent holds it holds under a lease, offline or not: job_released tells its end",
}
"""Actions of the contract that nothing writes, and why."""


def _texts(*folders: str) -> Iterator[ast.Constant | ast.JoinedStr]:
    """The texts in the core, those that are put together included."""
    for path in modules("certctl_core"):
        if set(folders) <= set(path.parts):
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                    yield node


def _pattern(text: ast.JoinedStr) -> str:
    return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(.+)" for part in text.values)


WORDS = {str(text.value) for text in _texts() if isinstance(text, ast.Constant)}
WRITTEN = {str(text.value) for text in _texts("usecases") if isinstance(text, ast.Constant)}
PATTERNS = {_pattern(text) for text in _texts("usecases") if isinstance(text, ast.JoinedStr)}


def is_written(action: str) -> bool:
    """By a use case, in full or put together from words of the core."""
    found = (re.fullmatch(pattern, action) for pattern in PATTERNS)
    return action in WRITTEN or any(match is not None and set(match.groups()) <= WORDS for match in found)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_of_the_contract_is_written(action: str) -> None:
    assert is_written(action)


@pytest.mark.parametrize("action", NOT_HERE)
def test_what_is_not_written_yet_is_missing_for_a_reason(action: str) -> None:
    """When this fails, the action has come to be written and belongs into the list above."""
    assert NOT_HERE[action]
    assert not is_written(action)


def test_what_nobody_writes_is_not_found() -> None:
    assert not is_written("certificate_painted")
    assert not is_written("job_painted")
