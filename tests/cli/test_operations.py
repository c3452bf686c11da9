"""Commands that are read off the operations of the API."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from certctl_cli import operations
from certctl_cli.commands import BY_HAND, every_command
from certctl_web.operations import TABLE
from tests.cli.conftest import Certctl
from tests.serving import Plane


def test_every_operation_has_exactly_one_command() -> None:
    covered = [name for command in every_command() for name in command.covers]
    assert len(covered) == len(set(covered))
    of_the_api = {row.name for row in TABLE if row.path.startswith("/api/v1/")} - {"get_openapi", "get_api_health"}
    assert set(covered) == of_the_api


def test_no_two_commands_are_called_alike() -> None:
    names = [command.name for command in every_command()]
    assert len(names) == len(set(names))
    singles = {name for name in names if " " not in name}
    assert not singles & {name.partition(" ")[0] for name in names if " " in name}


def test_commands_by_hand_cover_operations_that_exist() -> None:
    known = {one["name"] for one in operations.table()}
    assert {name for command in BY_HAND for name in command.covers} <= known


def test_an_object_is_made_looked_at_changed_and_deleted(plane: Plane, certctl: Certctl) -> None:
    made = certctl("teams", "create", "--name", "Network", "--id", "t-net", "--format", "json")
    assert (made.status, json.loads(made.out)["id"]) == (0, "t-net")
    assert dict(certctl("teams", "get", "t-net").cells)["Name"] == "Network"
    changed = certctl("teams", "update", "t-net", "--description", "switches")
    assert dict(changed.cells)["Description"] == "switches"
    listed = certctl("teams", "list")
    assert listed.cells[0][:2] == ["ID", "NAME"]
    assert {row[0] for row in listed.cells[1:]} == {"t-1", "t-net"}
    assert listed.err == "Total: 2\n"
    assert certctl("teams", "delete", "t-net").out == "Deleted.\n"
    assert certctl("teams", "get", "t-net").status == 5


def test_what_is_deeper_than_a_flag_is_given_as_json_or_as_a_file(
    plane: Plane, certctl: Certctl, tmp_path: Path
) -> None:
    agent = plane.api.agent()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"cert_path": "/srv/site.pem", "key_path": "/srv/site.key"}))
    words = ("targets", "create", "--name", "nginx", "--type", "NGINX", "--agent-id", agent.id)
    assert certctl(*words, "--config", f"@{config}").status == 0
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"name": "other", "type": "NGINX", "agent_id": agent.id, "config": {}}))
    made = certctl("targets", "create", "--body", str(body), "--name", "flags-win", "--config", config.read_text())
    assert dict(made.cells)["Name"] == "flags-win"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("teams create", "certctl teams create needs --name"),
        ("teams create --body no-such-file", "cannot read no-such-file"),
        ("targets create --config {", "is not JSON"),
        ("targets create --enabled perhaps", "neither true nor false"),
        ("profiles create --name x --max-ttl-seconds soon", "not a whole number"),
        ("certs list --query ][", "--query"),
    ],
)
def test_what_makes_no_sense_is_status_2(certctl: Certctl, words: str, said: str) -> None:
    told = certctl(*words.split(" ", words.count(" ")))
    assert told.status == 2
    assert said in told.err


def test_a_list_is_narrowed_by_every_filter_of_the_api(plane: Plane, certctl: Certctl) -> None:
    plane.api.certificate(name="a", environment="production")
    plane.api.certificate(name="b", environment="staging")
    said = certctl("certs", "list", "--environment", "staging", "--sort", "name")
    assert [row[0] for row in said.cells[1:]] == ["mc-b"]


def test_all_pages_can_be_had_at_once(plane: Plane, certctl: Certctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certctl_cli.client.MOST_ROWS", 2)
    for name in "abcde":
        plane.api.certificate(name=name)
    said = certctl("certs", "list", "--all")
    assert [row[0] for row in said.cells[1:]] == ["mc-a", "mc-b", "mc-c", "mc-d", "mc-e"]
    assert said.err == "Total: 5\n"
    assert len(json.loads(certctl("issuers", "list", "--all", "--format", "json").out)["data"]) == 1


def test_flags_of_every_command_may_stand_after_it(certctl: Certctl) -> None:
    before, after = certctl("--format", "json", "teams", "list"), certctl("teams", "list", "--format", "json")
    assert before.out == after.out


class TestFormats:
    def test_a_part_of_the_answer_is_chosen(self, plane: Plane, certctl: Certctl) -> None:
        for name in ("a", "b"):
            plane.api.certificate(name=name)
        named = certctl("certs", "list", "--query", "data[].{id: id, cn: common_name}")
        assert named.cells == [["ID", "CN"], ["mc-a", "a.example.com"], ["mc-b", "b.example.com"]]
        assert certctl("certs", "list", "--query", "data[].id").lines == ["mc-a", "mc-b"]
        assert certctl("certs", "list", "--query", "total").out == "2\n"
        assert certctl("certs", "list", "--query", "nothing").out == "Nothing.\n"
        assert json.loads(certctl("certs", "list", "--query", "total", "--format", "json").out) == 2

    def test_yaml_and_csv_say_the_same(self, plane: Plane, certctl: Certctl) -> None:
        plane.api.certificate(name="a", tags={"tier": "1"})
        yaml = certctl("certs", "list", "--format", "yaml").out
        assert re.search(r"^  common_name: a\.example\.com$", yaml, re.MULTILINE)
        head, row = certctl("certs", "list", "--format", "csv", "--query", "data[].{id: id, tags: tags, n: name}").lines
        assert (head, row) == ("id,tags,n", 'mc-a,"{""tier"": ""1""}",a')

    def test_no_cell_of_csv_is_a_formula(self, plane: Plane, certctl: Certctl) -> None:
        plane.api.certificate(name="a", tags={"sum": "=1+1", "less": "-5", "at": "@x"})
        said = certctl("certs", "get", "mc-a", "--format", "csv", "--query", "tags")
        assert said.lines == ["sum,less,at", "'=1+1,-5,'@x"]


STARTED = """
import sys
sys.argv = ["certctl", "certs", "list", "--help"]
try:
    from certctl_cli.__main__ import main
    main()
except SystemExit:
    pass
print({"rich", "yaml", "jmespath", "argcomplete", "cryptography", "urllib3"} & set(sys.modules) or "nothing heavy")
"""


def test_the_program_starts_without_what_only_printing_and_asking_need() -> None:
    ran = subprocess.run([sys.executable, "-c", STARTED], check=True, capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines()[-1] == "nothing heavy"


def test_the_cas_of_an_issuer_are_shown_as_a_tree(plane: Plane, certctl: Certctl) -> None:
    root = plane.api.get("/api/v1/issuers/iss-local/intermediates").json["data"][0]
    path = "/api/v1/issuers/iss-local/intermediates"
    middle = plane.api.made(path, {"name": "Middle", "parent_ca_id": root["id"], "path_len_constraint": 1})
    plane.api.made(path, {"name": "Lowest", "parent_ca_id": middle["id"]})
    plane.api.made(path, {"name": "Other root"})
    rows = [line.split("\t") for line in certctl("issuers", "hierarchy", "iss-local").out.splitlines()[1:]]
    assert [row[0] for row in rows if row[0] != "Other root"] == ["iss-local", "  Middle", "    Lowest"]
    assert sorted(row[3] for row in rows) == ["-", "-", "-", "leafs"]
