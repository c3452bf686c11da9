"""Each operation of the table, asked at least once well and once badly, over PostgreSQL.

A row that nobody has said how to ask fails here: what can be asked from outside is tried from outside.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any, Final

import attrs
import pytest
from attrs import define, evolve, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certctl_adapters.postgres.table import PostgresTable
from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_core.ids import CertificateId, IssuerId, OwnerId, RenewalPolicyId, TeamId
from certctl_core.models.access import Principal, Role
from certctl_core.models.bulk import BulkAction
from certctl_core.models.crls import CrlRules
from certctl_core.pki import bundle, ca, reading
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CaPlan
from certctl_core.policy import intune
from certctl_core.policy.shared_secret import SharedSecret
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import bulk, crls, sealing
from certctl_core.usecases.enrolment import Belonging
from certctl_core.usecases.scep_doors import Door, Doors, SignedChallenges, Trusted
from certctl_web.est import EstLabels, Kept, TrustFile
from certctl_web.operation import JSON, Row
from certctl_web.operations import TABLE
from certctl_web.options import Options
from tests import devices, strangers
from tests.authority import Authority, pem
from tests.databases import DatabaseServer
from tests.devices import Device
from tests.stand_ins import MovableClock
from tests.web.api import GIVEN, NGINX, START, AnAgent, Api, Reply, certificate, csr_pem, make_api, make_ports
from tests.web.est_world import BIRTH, Connection, body, born, certificates, label, request

pytestmark = pytest.mark.integration

CHALLENGE: Final = "open sesame"

NOT_CONFIGURED: Final = frozenset({"trigger_network_scan", "preview_digest", "send_digest"})
"""What these would do needs a part that is not there; they say so with 503."""


@frozen
class Asked:
    """A request that must be answered well. `ids` fill in the path."""

    ids: Mapping[str, str] = field(factory=dict)
    body: Any = None
    by: Role | str | None = Role.ADMIN
    query: str = ""
    raw: bytes | None = None
    headers: Mapping[str, str] = field(factory=dict)
    shown: Connection | None = None


@define
class Stage:
    """An application over PostgreSQL with something of everything, and fresh objects for whoever changes them."""

    api: Api
    numbers: "count[int]" = field(factory=count)
    agent: AnAgent = field(init=False)
    target: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.api.foundations()
        self.agent = self.api.agent()
        self.target = self.api.target(self.agent)

    def name(self) -> str:
        return f"thing-{next(self.numbers)}"

    def made(self, path: str, **body: Any) -> str:
        return str(self.api.made(f"/api/v1/{path}", body)["id"])

    def certificate(self, *targets: str, **more: Any) -> str:
        return str(self.api.certificate(*targets, name=self.name(), **more)["id"])

    def asked_for(self) -> str:
        """A certificate whose agent is asked for a CSR."""
        made = self.certificate(self.target)
        self.api.made(f"/api/v1/certificates/{made}/renew", {})
        return made

    def issued(self) -> str:
        made = self.certificate(self.target)
        assert self.api.issue(self.agent, made).status == 202
        return made

    def job(self, certificate_id: str, kind: str) -> str:
        found = self.api.get(f"/api/v1/jobs?certificate_id={certificate_id}&type={kind}").json["data"]
        return str(found[0]["id"])

    def deployment(self) -> str:
        """A deployment job that its agent has in hand."""
        job = self.job(self.issued(), "Deployment")
        self.api.get(f"/api/v1/agents/{self.agent.id}/work", by=self.agent.key)
        return job

    def failed(self) -> str:
        job = self.deployment()
        path = f"/api/v1/agents/{self.agent.id}/jobs/{job}/status"
        for status in ("Running", "Failed"):
            self.api.made(path, {"status": status}, by=self.agent.key)
        return job

    def waiting(self) -> tuple[str, str]:
        """An issuing job that waits for approval, and its request."""
        profile = self.made("profiles", name=self.name(), requires_approval=True, enabled=True)
        asked = certificate(self.name(), target_ids=[self.target], certificate_profile_id=profile)
        made = self.api.made("/api/v1/certificates", asked, by=Role.OPERATOR)["id"]
        self.api.made(f"/api/v1/certificates/{made}/renew", {}, by=Role.OPERATOR)
        (request,) = self.api.get(f"/api/v1/approvals?certificate_id={made}").json["data"]
        return request["job_id"], request["id"]

    def found(self) -> str:
        """A certificate that an agent found."""
        entry = {"fingerprint_sha256": f"{next(self.numbers):064x}", "source_path": "/etc/ssl/x.pem"}
        path = f"/api/v1/agents/{self.agent.id}/discoveries"
        self.api.made(path, {"certificates": [entry]}, by=self.agent.key)
        return str(self.api.get("/api/v1/discovered-certificates?per_page=500").json["data"][-1]["id"])

    def event(self) -> str:
        return str(self.api.get("/api/v1/audit?per_page=1").json["data"][0]["id"])

    def notification(self) -> str:
        """Revoking owes somebody a message."""
        made = self.issued()
        self.api.made(f"/api/v1/certificates/{made}/revoke", {"reason": "superseded"})
        return str(self.api.get("/api/v1/notifications").json["data"][0]["id"])

    def on_hold(self) -> str:
        made = self.issued()
        self.api.made(f"/api/v1/certificates/{made}/revoke", {"reason": "certificateHold"})
        return made

    def authority(self) -> str:
        """The key identifier of the CA."""
        self.api.get("/.well-known/pki/crl/iss-local", by=None)
        return str(self.api.get("/api/v1/admin/crl/cache").json["cache_rows"][0]["authority_key_id"])

    def policy(self) -> str:
        return self.made("policies", name=self.name(), type="AllowedEnvironments", config={"allowed": ["production"]})

    def group(self) -> str:
        return self.made("agent-groups", name=self.name())

    def serial(self) -> str:
        return str(self.api.get(f"/api/v1/certificates/{self.issued()}/versions").json["data"][0]["serial_number"])

    def issuer_certificate(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.api.get("/.well-known/pki/ca/iss-local", by=None).content)


Recipe = Callable[[Stage], Asked]


def one(make: Callable[[Stage], str], **body: Any) -> Recipe:
    """About an object that `make` makes."""
    return lambda stage: Asked({"id": make(stage)}, body or None)


def named(**body: Any) -> Recipe:
    return lambda stage: Asked(body={"name": stage.name(), **body})


def of_agent(**body: Any) -> Recipe:
    return lambda stage: Asked({"id": stage.agent.id}, body or None, by=stage.agent.key)


def a_team(stage: Stage) -> str:
    return stage.made("teams", name=stage.name())


def an_owner(stage: Stage) -> str:
    return stage.made("owners", name=stage.name(), team_id="t-1")


def a_profile(stage: Stage) -> str:
    return stage.made("profiles", name=stage.name())


def a_renewal_policy(stage: Stage) -> str:
    return stage.made("renewal-policies", name=stage.name())


def an_issuer(stage: Stage) -> str:
    return stage.made("issuers", name=stage.name(), type="local")


def an_intermediate(stage: Stage) -> str:
    """A CA of an issuer beside the one that signs its leafs."""
    path = f"issuers/{an_issuer(stage)}/intermediates"
    stage.made(path, name=stage.name(), parent_ca_id="iss-local")
    return stage.made(path, name=stage.name(), parent_ca_id="iss-local")


def a_certificate_to_install(stage: Stage) -> Asked:
    """A CA in want of a certificate, and one for it."""
    made = stage.made("issuers/iss-local/intermediates", name=stage.name(), external=True)
    csr = x509.load_pem_x509_csr(stage.api.get(f"/api/v1/intermediates/{made}/csr").content)
    root = ca.create_root("Far away", KeyKind.ECDSA_P256, START - timedelta(days=1), timedelta(days=365))
    starts = root.certificate.not_valid_before_utc
    chain = ca.sign_ca(
        root,
        CaPlan(
            subject=csr.subject,
            public_key=csr.public_key(),
            serial_number="1",
            not_before=starts,
            not_after=starts + timedelta(days=300),
        ),
    )
    return Asked({"id": made}, {"certificate_pem": bundle.to_pem(*chain)})


def a_target(stage: Stage) -> str:
    return stage.api.target(stage.agent, name=stage.name())


def a_key(stage: Stage) -> str:
    return stage.made("api-keys", name=stage.name())


def a_secret(stage: Stage) -> str:
    return stage.made("enrolment-secrets", protocol="SCEP", label="phones")


def a_scan_target(stage: Stage) -> str:
    return stage.made("network-scan-targets", name=stage.name(), cidrs=["192.0.2.0/24"])


def a_check(stage: Stage) -> str:
    return stage.made("health-checks", endpoint="www.example.org:443")


def a_bulk_operation(stage: Stage) -> str:
    asked = {"reason": "superseded", "certificate_ids": [stage.issued()]}
    stage.api.made("/api/v1/certificates/bulk-revoke", asked)
    return str(stage.api.get("/api/v1/bulk-operations").json["data"][0]["id"])


def a_running_operation(stage: Stage) -> str:
    """One of whose two certificates the first had its turn."""
    chosen = bulk.Criteria(certificate_ids=(CertificateId(stage.certificate()), CertificateId(stage.certificate())))
    asked = bulk.StartBulk(action=BulkAction.RENEW, criteria=chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "BATCH", 1)
        begun = bulk.start(stage.api.ports, Principal("alice", Role.ADMIN), asked, patience=timedelta(0))
    return begun.operation.id


def submit_csr(stage: Stage) -> Asked:
    made = stage.asked_for()
    name = stage.api.get(f"/api/v1/certificates/{made}").json["common_name"]
    body = {"csr_pem": csr_pem(name, []), "certificate_id": made}
    return Asked({"id": stage.agent.id}, body, by=stage.agent.key)


def submit_csrs(stage: Stage) -> Asked:
    single = submit_csr(stage)
    return Asked(single.ids, {"csrs": [single.body]}, by=single.by)


def join(stage: Stage) -> Asked:
    token = stage.api.made("/api/v1/agents/join-tokens", {})["token"]
    return Asked(body={"token": token, "name": stage.name(), "hostname": "web.test"}, by=None)


def pick_up(stage: Stage) -> Asked:
    ids = {"id": stage.agent.id, "certificate_id": stage.issued()}
    return Asked(ids, by=stage.agent.key)


def report(stage: Stage) -> Asked:
    ids = {"id": stage.agent.id, "job_id": stage.deployment()}
    return Asked(ids, {"status": "Running"}, by=stage.agent.key)


def verify(stage: Stage) -> Asked:
    body = {"target_id": stage.target, "expected_fingerprint": "ab", "actual_fingerprint": "ab", "verified": True}
    return Asked({"id": stage.deployment()}, body, by=stage.agent.key)


def verification(stage: Stage) -> Asked:
    asked = verify(stage)
    stage.api.made(f"/api/v1/jobs/{asked.ids['id']}/verify", asked.body, by=stage.agent.key)
    return Asked(asked.ids)


def retire(stage: Stage) -> Asked:
    return Asked({"id": stage.api.agent().id}, query="?reason=rack+removed")


def member(stage: Stage) -> Asked:
    return Asked({"id": stage.group(), "agent_id": stage.agent.id}, {"membership_type": "exclude"})


def former_member(stage: Stage) -> Asked:
    asked = member(stage)
    stage.api.put(f"/api/v1/agent-groups/{asked.ids['id']}/members/{stage.agent.id}", asked.body)
    return Asked(asked.ids)


def imported(stage: Stage) -> Asked:
    leaf = Authority().leaf(f"{stage.name()}.example.com").certificate
    fixed = {"owner_id": "o-1", "team_id": "t-1", "issuer_id": "iss-local", "renewal_policy_id": "rp-default"}
    return Asked(body={**fixed, "certificates": [{"pem": pem(leaf)}]})


def seal(stage: Stage) -> None:
    sealing.seal(stage.api.ports)


def proof(stage: Stage) -> Asked:
    event = stage.event()
    seal(stage)
    return Asked({"id": event})


def checkpoints(stage: Stage) -> Asked:
    seal(stage)
    stage.certificate()
    seal(stage)
    return Asked()


def consistency(stage: Stage) -> Asked:
    checkpoints(stage)
    sizes = [row["tree_size"] for row in stage.api.get("/api/v1/audit/checkpoints").json["data"]]
    return Asked(query=f"?first={min(sizes)}&second={max(sizes)}")


def ocsp_request(stage: Stage) -> Asked:
    issuer = stage.issuer_certificate()
    serial = int(stage.serial(), 16)
    found = stage.api.get("/.well-known/pki/ca/iss-local", by=None)
    assert found.status == 200
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        *_hashes(issuer), serial_number=serial, algorithm=hashes.SHA256()
    )
    der = builder.build().public_bytes(Encoding.DER)
    headers = {"Content-Type": "application/ocsp-request"}
    return Asked({"issuer_id": "iss-local"}, raw=der, headers=headers, by=None)


def _hashes(issuer: x509.Certificate) -> tuple[bytes, bytes]:
    name = hashes.Hash(hashes.SHA256())
    name.update(issuer.subject.public_bytes())
    key = hashes.Hash(hashes.SHA256())
    key.update(x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest)
    return name.finalize(), key.finalize()


def scep_doors() -> Doors:
    """The service, and a label, with a shared challenge and a connector."""

    def door(label: str) -> Door:
        belongs = Belonging(
            owner_id=OwnerId("o-1"), team_id=TeamId("t-1"), renewal_policy_id=RenewalPolicyId("rp-default")
        )
        return Door(
            label=label,
            issuer_id=IssuerId("iss-local"),
            profile_id=None,
            belongs=belongs,
            static=SharedSecret.of(CHALLENGE),
            signed=SignedChallenges(rules=intune.Rules(audience="us"), trusted=Connector()),
            client_authorities=Makers(),
        )

    return Doors({label: door(label) for label in ("", "phones")})


class Connector(Trusted):
    """A connector's certificate that is good for as long as anybody looks."""

    def __call__(self) -> tuple[x509.Certificate, ...]:
        return (strangers.certificate("connector", life=timedelta(days=36500)),)

    def reload(self) -> tuple[x509.Certificate, ...]:
        return self()


class Makers(Connector):
    """The CA of the certificates that devices have from their maker."""

    def __call__(self) -> tuple[x509.Certificate, ...]:
        return (BIRTH.certificate,)


def scep_capabilities(_: Stage) -> Asked:
    return Asked({"label": "phones"}, query="?operation=GetCACaps", by=None, shown=Connection(born()))


def scep_enrolment(stage: Stage, label: str = "") -> Asked:
    path = f"/scep/{label}" if label else "/scep"
    ra, _ = devices.authorities(stage.api.get(f"{path}?operation=GetCACert", by=None).content)
    device = Device(common_name=f"{stage.name()}.example.com")
    message = device.pkcs_req(ra, CHALLENGE, transaction_id=stage.name())
    headers = {"Content-Type": "application/x-pki-message"}
    query, shown = "?operation=PKIOperation", Connection(born())
    return Asked({"label": label}, query=query, raw=message, headers=headers, by=None, shown=shown)


def scep_enrolment_at_a_label(stage: Stage) -> Asked:
    return scep_enrolment(stage, "phones")


def by_serial(stage: Stage) -> Asked:
    return Asked({"issuer_id": "iss-local", "request": stage.serial()}, by=None)


PHONE: Final = rsa.generate_private_key(65537, 2048)
PHONES: Final = {"label": "phones"}


def of_phones(_: Stage) -> Asked:
    return Asked(PHONES, by=None)


def device(stage: Stage) -> Asked:
    """A device that its maker gave a certificate, with a CSR for a key of its own."""
    csr = request(ec.generate_private_key(ec.SECP256R1()), f"{stage.name()}.example.com")
    shown = Connection(born("phone", "clientAuth", "serverAuth", key=PHONE))
    headers = {"Content-Type": "application/pkcs10"}
    return Asked(PHONES, raw=body(csr), headers=headers, by=None, shown=shown)


def renewing_device(path: str) -> Recipe:
    """A device that has enrolled at this path."""

    def made(stage: Stage) -> Asked:
        asked = device(stage)
        reply = stage.api.call(
            "POST", path, body=asked.raw, by=None, headers=asked.headers, extras={"gunicorn.socket": asked.shown}
        )
        (first,) = certificates(reply.content)
        return attrs.evolve(asked, shown=Connection(first))

    return made


def of_the_issuer(_: Stage) -> Asked:
    return Asked({"issuer_id": "iss-local"}, by=None)


def delta_of_the_issuer(stage: Stage) -> Asked:
    """Made by the loop, where deltas are wanted."""
    stage.on_hold()
    crls.sweep(evolve(stage.api.ports, crls=CrlRules(deltas_from=0)))
    return Asked({"issuer_id": "iss-local", "place": stage.authority()}, by=None)


def in_bulk(**body: Any) -> Recipe:
    return lambda stage: Asked(body={"certificate_ids": [stage.issued()], **body})


RECIPES: Final[Mapping[str, Recipe]] = {
    "create_certificate": lambda stage: Asked(body=certificate(stage.name())),
    "get_certificate": one(Stage.issued),
    "update_certificate": one(Stage.certificate, environment="staging"),
    "archive_certificate": one(Stage.certificate),
    "list_certificate_versions": one(Stage.issued),
    "list_certificate_deployments": one(Stage.issued),
    "trigger_renewal": one(lambda stage: stage.certificate(stage.target), reason="because"),
    "trigger_deployment": one(Stage.issued),
    "revoke_certificate": one(Stage.issued, reason="superseded"),
    "release_certificate": one(Stage.on_hold),
    "export_certificate_pem": one(Stage.issued),
    "export_certificate_pkcs12": one(Stage.issued, password="secret"),
    "import_certificates": imported,
    "bulk_revoke_certificates": in_bulk(reason="superseded"),
    "bulk_renew_certificates": in_bulk(),
    "bulk_reassign_certificates": in_bulk(owner_id="o-1", team_id="t-1"),
    "get_bulk_operation": one(a_bulk_operation),
    "list_bulk_operation_failures": one(a_bulk_operation),
    "cancel_bulk_operation": one(a_running_operation),
    "create_issuer": named(type="local"),
    "get_issuer": one(an_issuer),
    "update_issuer": one(an_issuer, enabled=False),
    "delete_issuer": one(an_issuer),
    "test_issuer": one(an_issuer),
    "list_intermediate_cas": one(an_issuer),
    "create_intermediate_ca": lambda stage: Asked(
        {"id": an_issuer(stage)}, {"name": stage.name(), "parent_ca_id": "iss-local"}
    ),
    "get_intermediate_ca": one(an_intermediate),
    "get_intermediate_ca_csr": one(an_intermediate),
    "install_intermediate_ca_certificate": a_certificate_to_install,
    "activate_intermediate_ca": one(an_intermediate),
    "revoke_intermediate_ca": one(an_intermediate, reason="superseded"),
    "retire_intermediate_ca": lambda stage: Asked({"id": an_intermediate(stage)}, {"note": "too old"}),
    "create_target": lambda stage: Asked(
        body={"name": stage.name(), "type": "NGINX", "agent_id": stage.agent.id, "config": NGINX}
    ),
    "get_target": one(a_target),
    "update_target": one(a_target, enabled=False),
    "delete_target": one(a_target),
    "test_target": one(a_target),
    "create_team": named(),
    "get_team": one(a_team),
    "update_team": one(a_team, description="switches"),
    "delete_team": one(a_team),
    "create_owner": named(team_id="t-1"),
    "get_owner": one(an_owner),
    "update_owner": one(an_owner, email="them@example.com"),
    "delete_owner": one(an_owner),
    "create_profile": named(max_ttl_seconds=86400),
    "get_profile": one(a_profile),
    "update_profile": one(a_profile, description="short"),
    "delete_profile": one(a_profile),
    "create_renewal_policy": named(renewal_window_days=30),
    "get_renewal_policy": one(a_renewal_policy),
    "update_renewal_policy": one(a_renewal_policy, auto_renew=False),
    "delete_renewal_policy": one(a_renewal_policy),
    "register_agent": lambda stage: Asked(body={"name": stage.name(), "hostname": "web.test"}),
    "issue_join_token": lambda stage: Asked(body={"agent_name": stage.name()}),
    "join_agent": join,
    "get_agent": lambda stage: Asked({"id": stage.agent.id}),
    "update_agent": lambda stage: Asked({"id": stage.agent.id}, {"team_ids": []}),
    "retire_agent": retire,
    "agent_heartbeat": of_agent(version="1.2.3"),
    "agent_get_work": of_agent(),
    "agent_submit_csr": submit_csr,
    "agent_submit_csrs": submit_csrs,
    "agent_pickup_certificate": pick_up,
    "agent_report_job_status": report,
    "report_discoveries": of_agent(errors=["/root: denied"]),
    "get_job": one(Stage.deployment),
    "cancel_job": one(Stage.deployment),
    "retry_job": one(Stage.failed),
    "approve_job": one(lambda stage: stage.waiting()[0]),
    "reject_job": one(lambda stage: stage.waiting()[0], reason="no"),
    "verify_job": verify,
    "get_job_verification": verification,
    "get_approval": one(lambda stage: stage.waiting()[1]),
    "approve_request": one(lambda stage: stage.waiting()[1], note="fine"),
    "reject_request": one(lambda stage: stage.waiting()[1], note="no"),
    "create_policy": named(type="AllowedEnvironments", config={"allowed": ["production"]}),
    "get_policy": one(Stage.policy),
    "update_policy": one(Stage.policy, enabled=False),
    "delete_policy": one(Stage.policy),
    "list_policy_violations": one(Stage.policy),
    "create_agent_group": named(match_os="linux"),
    "get_agent_group": one(Stage.group),
    "update_agent_group": one(Stage.group, match_os="linux"),
    "delete_agent_group": one(Stage.group),
    "list_agent_group_members": one(Stage.group),
    "list_agent_group_memberships": one(Stage.group),
    "put_agent_group_member": member,
    "remove_agent_group_member": former_member,
    "get_audit_event": one(Stage.event),
    "prove_audit_event": proof,
    "list_audit_checkpoints": checkpoints,
    "get_latest_audit_checkpoint": checkpoints,
    "prove_audit_consistency": consistency,
    "get_notification": one(Stage.notification),
    "mark_notification_read": one(Stage.notification),
    "requeue_notification": one(Stage.notification),
    "get_discovered_certificate": one(Stage.found),
    "claim_discovered_certificate": lambda stage: Asked(
        {"id": stage.found()}, {"managed_certificate_id": stage.certificate()}
    ),
    "dismiss_discovered_certificate": one(Stage.found),
    "create_network_scan_target": named(cidrs=["192.0.2.0/24"]),
    "get_network_scan_target": one(a_scan_target),
    "update_network_scan_target": one(a_scan_target, enabled=False),
    "delete_network_scan_target": one(a_scan_target),
    "trigger_network_scan": one(a_scan_target),
    "create_health_check": lambda _: Asked(body={"endpoint": "www.example.org:443"}),
    "get_health_check": one(a_check),
    "update_health_check": one(a_check, enabled=False),
    "delete_health_check": one(a_check),
    "health_check_history": one(a_check),
    "acknowledge_health_check": one(a_check, actor="me"),
    "send_digest": lambda _: Asked(),
    "create_api_key": named(role="viewer"),
    "reload_est_trust": lambda _: Asked(body={"path_id": "files"}),
    "create_enrolment_secret": lambda _: Asked(body={"protocol": "EST", "label": "phones"}),
    "delete_enrolment_secret": one(a_secret),
    "update_api_key": one(a_key, team_ids=["t-1"]),
    "revoke_api_key": one(a_key),
    "get_crl": of_the_issuer,
    "get_crl_part": lambda stage: Asked({"issuer_id": "iss-local", "place": stage.authority()}, by=None),
    "get_delta_crl": delta_of_the_issuer,
    "get_delta_crl_part": delta_of_the_issuer,
    "ask_ocsp": ocsp_request,
    "get_ocsp": by_serial,
    "get_authority_certificate": lambda stage: Asked(
        {"issuer_id": "iss-local", "authority": reading.key_identifier_of(stage.issuer_certificate()).hex()}, by=None
    ),
    "get_issuer_certificate": of_the_issuer,
    **{
        f"ask_{name}": scep_capabilities
        for name in ("scep", "scep_label", "scep_label_client", "scep_client", "scep_mtls", "scep_mtls_label")
    },
    "post_scep_mtls": scep_enrolment,
    "post_scep_mtls_label": scep_enrolment_at_a_label,
    "post_scep": scep_enrolment,
    "post_scep_label": scep_enrolment_at_a_label,
    "post_scep_label_client": scep_enrolment_at_a_label,
    "post_scep_client": scep_enrolment,
    "reload_scep_intune_trust": lambda _: Asked(body={"path_id": "phones"}),
    **{
        f"est_{what}{suffix}": recipe
        for suffix, path in (("", ""), ("_of_label", "/phones"), ("_by_certificate", "/phones"))
        for what, recipe in (
            ("enroll", device),
            ("reenroll", renewing_device(f"/.well-known/est{path}/simpleenroll")),
            ("make_key", device),
        )
    },
    **{
        f"est_get_{what}{suffix}": of_phones
        for what in ("ca_certificates", "csr_attributes")
        for suffix in ("_of_label", "_by_certificate")
    },
}
"""How each operation is asked well. What is only looked at, and needs no object to look at, is asked as it stands."""

rows = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


@pytest.fixture(scope="module")
def stage(
    database_server: DatabaseServer, database_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """One for all, because an application over PostgreSQL takes longer to make than most operations to answer."""
    url = database_server.create(database_template)
    clock = MovableClock()
    with open_pool(url, size=4) as pool:
        bundle = tmp_path_factory.mktemp("est") / "bundle.pem"
        bundle.write_text(pem(BIRTH.certificate))
        labels = EstLabels.of(
            (
                *(Kept(label(name, trusted=(BIRTH.certificate,), makes_keys=True)) for name in ("", "phones")),
                Kept(label("files"), TrustFile(bundle)),
            )
        )
        options = Options(
            given_keys=GIVEN, rate=None, server_ca=lambda: Authority().certificate, est=labels, scep=scep_doors()
        )
        api = make_api(options, make_ports(PostgresWork(pool), clock), clock)
        yield Stage(api)
        api.app.close()
    database_server.drop(url)


def recipe(row: Row) -> Recipe:
    if row.name in RECIPES:
        return RECIPES[row.name]
    assert row.method == "GET", f"nobody has said how {row.name} is asked well"
    assert not row.parameters, f"nobody has said how {row.name} is asked well"
    return lambda _: Asked(by=None if row.is_public else Role.ADMIN)


def ask(stage: Stage, row: Row, asked: Asked, **instead: Any) -> Reply:
    path = re.sub(r"{([a-z_]+)(:path)?}", lambda found: asked.ids[found[1]], row.path)
    query = instead.pop("query", asked.query)
    body = instead.pop("body", asked.body)
    raw = instead.pop("raw", asked.raw)
    headers = {**asked.headers, **instead.pop("headers", {})}
    extras = {"gunicorn.socket": asked.shown} if asked.shown else {}
    return stage.api.call(row.method, path + query, body, by=asked.by, body=raw, headers=headers, extras=extras)


@rows
def test_asked_well_it_answers_well(stage: Stage, row: Row) -> None:
    reply = ask(stage, row, recipe(row)(stage))
    if row.name in NOT_CONFIGURED:
        assert (reply.status, reply.json["title"]) == (503, "Not configured")
        return
    assert reply.status in {row.status, *row.also}, reply.content
    stage.api.clock.advance(timedelta(seconds=1))


LEAVES_NO_EVENT: Final[Mapping[str, str]] = {
    "agent_heartbeat": "heartbeats are counted for each agent and hour",
    "ask_ocsp": "a question",
}
"""Rows that are no GET, and why nothing is on record after them."""

changing = pytest.mark.parametrize(
    "row", [row for row in TABLE if row.method != "GET" and row.name not in NOT_CONFIGURED], ids=lambda row: row.name
)


@changing
def test_what_changes_something_is_on_record_with_its_request(stage: Stage, row: Row) -> None:
    reply = ask(stage, row, recipe(row)(stage))
    assert reply.status in {row.status, *row.also}, reply.content
    mine = (Where("request_id", reply.headers["x-request-id"]),)
    with stage.api.ports.work() as work:
        events = work.audit.page(Query(mine, sort="timestamp", count=False)).items
    assert bool(events) is (row.name not in LEAVES_NO_EVENT)


@pytest.mark.parametrize("row", [row for row in TABLE if row.name.startswith("update_")], ids=lambda row: row.name)
def test_of_two_writers_at_once_one_is_told(stage: Stage, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipe(row)(stage)
    meeting = threading.Barrier(2)
    save = PostgresTable.save

    def save_together(table: PostgresTable[Any], fact: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            meeting.wait(1.0)  # whoever holds a lock that the other waits for is alone
        return save(table, fact)

    monkeypatch.setattr(PostgresTable, "save", save_together)
    with ThreadPoolExecutor(2) as threads:
        replies = list(threads.map(lambda _: ask(stage, row, asked), range(2)))
    assert sorted(reply.status for reply in replies) == [200, 409]
    for reply in replies:
        mine = (Where("request_id", reply.headers["x-request-id"]),)
        with stage.api.ports.work() as work:
            assert bool(work.audit.page(Query(mine, sort="timestamp", count=False)).items) is (reply.status == 200)


@rows
def test_asked_badly_it_says_what_is_wrong(stage: Stage, row: Row) -> None:
    asked = recipe(row)(stage)
    if row.body is not None:
        reply = ask(stage, row, asked, raw=b'{"oops', body=None)
        assert (reply.status, "line 1" in reply.json["message"]) == (400, True)
        if not getattr(row.body, "anything", False):
            wrong = {**(asked.body or {}), "no_such_field": 1}
            assert ask(stage, row, asked, body=wrong).fields == ["no_such_field"]
    elif row.accepts_any:
        assert ask(stage, row, asked, raw=b"?").status == 400
    elif row.accepts != JSON:
        assert ask(stage, row, asked, headers={"Content-Type": "image/png"}).status == 415
    elif row.query is not None:
        joined = f"{asked.query}&" if asked.query else "?"
        assert "no_such_filter" in ask(stage, row, asked, query=f"{joined}no_such_filter=1").fields
    elif row.parameters:
        by = None if row.is_public else Role.ADMIN
        nowhere = attrs.evolve(asked, ids={name: f"no-such-{name}" for name in row.parameters}, by=by)
        # To a request that it cannot read a responder says so in OCSP (RFC 6960 section 2.3).
        assert ask(stage, row, nowhere).status == (200 if row.name == "get_ocsp" else 404)
    else:
        unheard = stage.api.call("PATCH", row.path, by=asked.by)
        assert unheard.status == 405


def test_every_recipe_is_for_a_row() -> None:
    assert set(RECIPES) <= {row.name for row in TABLE}
