"""Who is in an agent group."""

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.ids import AgentGroupId, AgentId
from certctl_core.models.agents import AgentGroup, AgentTraits, MembershipType
from certctl_core.policy import membership

NOW = datetime(2026, 11, 23, tzinfo=UTC)
WORDS = st.sampled_from(["", "linux", "Linux", "darwin", "windows"])
VERSIONS = st.sampled_from(["", "1.2", "1.4.0", "dev", "nonsense!"])
ADDRESSES = st.one_of(st.just(""), st.just("not an address"), st.ip_addresses().map(str))
AGENTS = st.builds(
    AgentTraits,
    id=st.just(AgentId("a-1")),
    os=WORDS,
    architecture=st.sampled_from(["", "amd64", "arm64"]),
    ip_address=ADDRESSES,
    version=VERSIONS,
)


def group(**fields: Any) -> AgentGroup:
    return AgentGroup(**{"id": AgentGroupId("ag-1"), "name": "edge", "created_at": NOW, "updated_at": NOW} | fields)


def agent(**fields: Any) -> AgentTraits:
    return AgentTraits(**{"id": AgentId("a-1")} | fields)


GROUPS = st.builds(
    group,
    match_os=WORDS,
    match_architecture=st.sampled_from(["", "amd64", "aarch64"]),
    match_ip_cidr=st.sampled_from(["", "0.0.0.0/0", "10.0.0.0/8", "::/0"]),
    match_version=st.sampled_from(["", ">=1.3", "dev"]),
    enabled=st.booleans(),
)


@given(AGENTS)
def test_a_group_without_criteria_has_everybody(one: AgentTraits) -> None:
    assert membership.is_member(group(), one)


@given(GROUPS, AGENTS)
def test_an_agent_meets_a_group_when_it_meets_each_of_its_criteria(asked: AgentGroup, one: AgentTraits) -> None:
    criteria = ("match_os", "match_architecture", "match_ip_cidr", "match_version")
    each = [membership.meets(group(**{name: getattr(asked, name)}), one) for name in criteria]
    assert membership.meets(asked, one) is all(each)


@given(GROUPS, AGENTS)
def test_what_was_decided_by_hand_counts_more_than_criteria(asked: AgentGroup, one: AgentTraits) -> None:
    assert membership.is_member(asked, one, MembershipType.INCLUDE) is asked.enabled
    assert not membership.is_member(asked, one, MembershipType.EXCLUDE)
    assert membership.is_member(asked, one) is (asked.enabled and membership.meets(asked, one))


@given(st.ip_addresses(), st.data())
def test_networks_are_compared_as_numbers(address: Any, data: st.DataObject) -> None:
    """An address is in the network of any length that it was cut to, and of no other address of that length."""
    length = data.draw(st.integers(0, address.max_prefixlen))
    network = ip_network((address, length), strict=False)
    asked = group(match_ip_cidr=str(network))
    assert membership.meets(asked, agent(ip_address=str(address)))
    assert membership.meets(asked, agent(ip_address=address.exploded))
    other = data.draw(st.ip_addresses())
    expected = other in network or (
        other.version == 6 and other.ipv4_mapped is not None and other.ipv4_mapped in network
    )
    assert membership.meets(asked, agent(ip_address=str(other))) is expected


@pytest.mark.parametrize(
    ("cidr", "address", "within"),
    [
        ("10.1.0.0/16", "10.1.255.1", True),
        ("10.1.0.0/16", "10.10.0.1", False),  # as a text it begins alike
        ("10.1.2.3", "10.1.2.3", True),
        ("2001:db8::/32", "2001:DB8:0:0::1", True),
        ("2001:db8::/32", "10.1.0.1", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "", False),
        ("0.0.0.0/0", "10.0.0", False),
        ("0.0.0.0/0", "host.example", False),
    ],
)
def test_an_agent_is_in_a_network_by_its_address(cidr: str, address: str, *, within: bool) -> None:
    assert membership.meets(group(match_ip_cidr=cidr), agent(ip_address=address)) is within


@pytest.mark.parametrize(
    ("fields", "traits"),
    [
        ({"match_os": "Linux"}, {"os": "linux"}),
        ({"match_os": "macOS"}, {"os": "darwin"}),
        ({"match_architecture": "x86_64"}, {"architecture": "amd64"}),
        ({"match_architecture": "arm64"}, {"architecture": "aarch64"}),
        ({"match_version": ">=1.2,<2"}, {"version": "v1.4.0"}),
    ],
)
def test_the_same_thing_by_another_name_is_the_same(fields: dict[str, str], traits: dict[str, str]) -> None:
    assert membership.meets(group(**fields), agent(**traits))
    assert not membership.meets(group(**fields), agent())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"match_ip_cidr": "10.1.2.3/8"}, "the network is 10.0.0.0/8"),
        ({"match_ip_cidr": "10.0.0.0/33"}, "such as 10.1.0.0/16"),
        ({"match_ip_cidr": "host.example"}, "such as 10.1.0.0/16"),
        ({"match_version": "~1.2"}, "such as >=1.2,<2"),
        ({"match_os": "x" * 101}, "at most 100"),
        ({"match_architecture": "x" * 101}, "at most 100"),
    ],
)
def test_what_is_wrong_with_a_group_is_named(fields: dict[str, str], words: str) -> None:
    (problem,) = membership.problems(group(**fields))
    assert [problem.field] == list(fields)
    assert words in problem.message


@given(st.text(max_size=60), st.text(max_size=60), AGENTS)
def test_whatever_passes_for_a_group_can_be_judged(cidr: str, version: str, one: AgentTraits) -> None:
    asked = group(match_ip_cidr=cidr, match_version=version)
    if not list(membership.problems(asked)):
        assert membership.meets(asked, one) in (True, False)


def test_a_group_with_everything_right_has_no_problems() -> None:
    right = group(match_os="linux", match_architecture="amd64", match_ip_cidr="10.0.0.0/8", match_version=">=1.2,<2")
    assert list(membership.problems(right)) == []
    assert ip_address("10.0.0.1") in ip_network(right.match_ip_cidr)
