"""Checkpoints and proofs over HTTP: what is answered can be verified by what is answered alone."""

import pytest

from certctl_core.models.access import Role
from certctl_core.pki import checkpoint, merkle
from certctl_core.usecases import sealing
from tests.web.api import EVERY_STORE, Api

pytestmark = EVERY_STORE
LATEST = "/api/v1/audit/checkpoints/latest"


def team(api: Api, name: str) -> str:
    """Make something, and return the id of the event that tells of it."""
    made = api.made("/api/v1/teams", {"name": name})
    return str(api.get(f"/api/v1/audit?resource_id={made['id']}").json["data"][0]["id"])


def test_an_auditor_can_verify_an_event_with_nothing_but_the_key(api: Api) -> None:
    events = [team(api, name) for name in "abc"]
    sealing.seal(api.ports)
    team(api, "d")
    told = api.get(LATEST, by=Role.AUDITOR).json
    assert told["waiting"] == 1
    key = checkpoint.verifier(told["verifier_key"])
    assert checkpoint.verifier(told["public_key"]).raw == key.raw
    proof = api.get(f"/api/v1/audit/{events[1]}/proof", by=Role.AUDITOR).json
    signed = key.check(proof["checkpoint"]["note"])
    assert signed.root_hash.hex() == proof["checkpoint"]["root_hash"] == told["checkpoint"]["root_hash"]
    leaf = merkle.leaf_hash(proof["text"].encode())
    path = [bytes.fromhex(one) for one in proof["path"]]
    assert leaf.hex() == proof["leaf_hash"]
    assert merkle.proves_inclusion(leaf, proof["leaf_index"], signed.tree_size, path, signed.root_hash)
    assert events[1] in proof["text"]


def test_checkpoints_are_shown_to_grow_out_of_one_another(api: Api) -> None:
    for name in "abc":
        team(api, name)
        sealing.seal(api.ports)
    listed = api.get("/api/v1/audit/checkpoints?per_page=2", by=Role.AUDITOR).json
    assert [one["tree_size"] for one in listed["data"]] == [3, 2]
    assert (listed["total"], listed["per_page"]) == (3, 2)
    shown = api.get("/api/v1/audit/consistency?first=1&second=3", by=Role.AUDITOR).json
    path = [bytes.fromhex(one) for one in shown["path"]]
    roots = [bytes.fromhex(shown[name]["root_hash"]) for name in ("first", "second")]
    assert merkle.proves_consistency(1, 3, path, *roots)
    assert api.get("/api/v1/audit/consistency?first=1", by=Role.AUDITOR).json == shown


def test_an_event_can_be_proved_by_an_earlier_checkpoint(api: Api) -> None:
    first = team(api, "a")
    sealing.seal(api.ports)
    second = team(api, "b")
    sealing.seal(api.ports)
    assert api.get(f"/api/v1/audit/{first}/proof?checkpoint=1").json["path"] == []
    assert len(api.get(f"/api/v1/audit/{first}/proof").json["path"]) == 1
    assert api.get(f"/api/v1/audit/{second}/proof?checkpoint=1").status == 409


def test_before_the_first_checkpoint_there_is_the_key_alone(api: Api) -> None:
    told = api.get(LATEST).json
    assert "checkpoint" not in told
    assert told["verifier_key"].startswith(f"{told['origin']}+")
    event = team(api, "a")
    reply = api.get(f"/api/v1/audit/{event}/proof")
    assert (reply.status, reply.json["hint"]) == (409, "Ask again in a moment.")
    assert api.get("/api/v1/audit/consistency?first=1").status == 404


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("consistency", "first"),
        ("consistency?first=0", "first"),
        ("consistency?first=1&second=x", "second"),
        ("audit-1/proof?checkpoint=-1", "checkpoint"),
    ],
)
def test_what_makes_no_sense_is_named(api: Api, path: str, field: str) -> None:
    reply = api.get(f"/api/v1/audit/{path}")
    assert (reply.status, reply.fields) == (400, [field])
