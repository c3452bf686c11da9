"""What policy rules demand."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from certctl_core.errors import Invalid
from certctl_core.ids import AgentGroupId, CertificateId, IssuerId, OwnerId, PolicyRuleId, RenewalPolicyId, TeamId
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.policies import PolicyRule, PolicyType
from certctl_core.pki import names
from certctl_core.policy import demands, rules
from tests.plans import plan

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DAY = timedelta(days=1)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9]{0,5}[a-z0-9])?", fullmatch=True)


def certificate(**fields: Any) -> ManagedCertificate:
    usual = ManagedCertificate(
        id=CertificateId("mc-1"),
        name="site",
        common_name="a.example.com",
        environment="production",
        owner_id=OwnerId("o-1"),
        team_id=TeamId("t-1"),
        issuer_id=IssuerId("iss-1"),
        renewal_policy_id=RenewalPolicyId("rp-1"),
        created_at=NOW,
        updated_at=NOW,
    )
    return evolve(usual, **fields)


def said(kind: str, config: dict[str, Any], validity: Any = None, at: datetime = NOW, **fields: Any) -> str:
    """What a rule says of a certificate; empty when nothing is wrong."""
    demand = rules.read(PolicyType(kind), config)
    return demand.broken_by(demands.as_it_is(certificate(**fields), validity, at))


def domains(*allowed: str, name: str, sans: tuple[str, ...] = ()) -> str:
    return said("AllowedDomains", {"allowed_domains": list(allowed)}, common_name=name, sans=sans)


class TestAllowedDomains:
    @given(st.lists(LABELS, min_size=1, max_size=3), st.lists(LABELS, min_size=2, max_size=3))
    def test_a_wildcard_allows_exactly_one_label(self, below: list[str], domain: list[str]) -> None:
        base = ".".join([*domain, "test"])
        name = ".".join([*below, base])
        assert (domains(f"*.{base}", name=name) == "") is (len(below) == 1)
        assert domains(f"*.{base}", name=base)

    @given(st.lists(LABELS, min_size=2, max_size=4), st.data())
    def test_case_makes_no_difference(self, labels: list[str], data: st.DataObject) -> None:
        name = ".".join([*labels, "test"])
        shouted = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in name)
        assert domains(shouted, name=name) == ""
        assert domains(name, name=shouted) == ""

    @given(st.lists(LABELS, min_size=2, max_size=4), st.lists(LABELS, min_size=2, max_size=4))
    def test_a_name_allows_itself_alone(self, one: list[str], other: list[str]) -> None:
        assume(one != other)
        assert domains(".".join([*one, "test"]), name=".".join([*other, "test"]))

    @given(st.ip_addresses(), st.data())
    def test_an_address_is_within_its_networks(self, address: Any, data: st.DataObject) -> None:
        length = data.draw(st.integers(1, address.max_prefixlen))
        network = ip_network((address, length), strict=False)
        assert domains(str(network), name=str(address)) == ""
        other = data.draw(st.ip_addresses())
        assert (domains(str(network), name=str(other)) == "") is (other in network)

    @pytest.mark.parametrize(
        ("allowed", "name", "within"),
        [
            ("example.com", "example.com", True),
            ("example.com", "a.example.com", False),
            ("*.example.com", "*.example.com", True),
            ("*.example.com", "*.a.example.com", False),
            ("a.example.com", "*.example.com", False),
            ("example.com", "*.example.com", False),
            ("example.com", "notexample.com", False),
            ("*.example.com", "a.notexample.com", False),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
            ("*.example.com", "10.1.2.3", False),
            ("10.1.0.0/16", "10.1.2.3", True),
            ("10.1.0.0/16", "10.10.2.3", False),
            ("10.1.2.3", "10.1.2.3", True),
            ("2001:db8::/32", "2001:db8::7", True),
            ("2001:db8::/32", "10.1.2.3", False),
            ("example.com", "ops@example.com", True),
            ("example.com", "ops@EXAMPLE.com", True),
            ("example.com", "ops@evil.com", False),
            ("*.example.com", "ops@mail.example.com", True),
            ("*.example.com", "spiffe://ns.example.com/sa/web", True),
            ("example.com", "spiffe://evil.com/example.com", False),
            ("example.com", "https://example.com:8443/path", True),
            ("example.com", "https://example.com@evil.com/", False),
            ("10.0.0.0/8", "https://10.1.2.3/x", True),
            ("::1", "https://[::1]:8443/", True),
        ],
    )
    def test_every_kind_of_name_is_judged_by_its_host(self, allowed: str, name: str, *, within: bool) -> None:
        assert (domains(allowed, "ok.example", name="ok.example", sans=(name,)) == "") is within

    def test_the_common_name_and_every_san_are_judged(self) -> None:
        said = domains("*.example.com", name="a.evil.com", sans=("b.example.com", "c.evil.com"))
        assert said == "not within the allowed domains: a.evil.com, c.evil.com"

    def test_a_certificate_without_sans_is_judged_by_its_common_name(self) -> None:
        assert domains("*.example.com", name="a.example.com") == ""

    def test_a_name_that_is_none_is_outside(self) -> None:
        assert domains("*.example.com", name="bücher.example.com")

    def test_of_many_wrong_names_some_are_shown(self) -> None:
        sans = tuple(f"n{number}.evil.com" for number in range(100))
        assert domains("*.example.com", name="a.example.com", sans=sans).endswith("n4.evil.com and 95 more")

    def test_a_plan_is_judged_by_the_names_that_will_be_signed(self) -> None:
        demand = rules.read(PolicyType.ALLOWED_DOMAINS, {"allowed_domains": ["a.example.com"]})
        planned = plan(sans=names.names_of("a.example.com", ["evil.com"]))
        assert "evil.com" in demand.broken_by(demands.as_planned(certificate(), planned, NOW))


class TestOthers:
    @pytest.mark.parametrize(
        ("kind", "config", "fields", "words"),
        [
            ("AllowedIssuers", {}, {}, ""),
            ("AllowedIssuers", {"allowed_issuer_ids": ["iss-1"]}, {}, ""),
            ("AllowedIssuers", {"allowed_issuer_ids": ["iss-2"]}, {}, "issuer iss-1 is not one of iss-2"),
            ("AllowedIssuers", {}, {"issuer_id": ""}, "it has no issuer"),
            ("AllowedEnvironments", {"allowed": ["production"]}, {}, ""),
            ("AllowedEnvironments", {"allowed": [" production "]}, {}, ""),
            ("AllowedEnvironments", {"allowed": ["b", "a"]}, {}, "environment production is not one of a, b"),
            ("AllowedEnvironments", {}, {}, ""),
            ("AllowedEnvironments", {}, {"environment": ""}, "it has no environment"),
            ("RequiredMetadata", {}, {"tags": {"a": "1"}}, ""),
            ("RequiredMetadata", {}, {}, "it has no tags"),
            ("RequiredMetadata", {"required_keys": ["a", "b"]}, {"tags": {"a": "1", "b": "2"}}, ""),
            ("RequiredMetadata", {"required_keys": ["a", "b"]}, {"tags": {"a": " "}}, "missing or empty: a, b"),
            ("RequiredMetadata", {"required_keys": ["owner", "team"]}, {}, ""),
            (
                "RequiredMetadata",
                {"required_keys": ["environment"]},
                {"environment": ""},
                "missing or empty: environment",
            ),
            ("RequiredMetadata", {"required_keys": ["profile"]}, {"tags": {"profile": "x"}}, ""),
        ],
    )
    def test_what_each_type_says(self, kind: str, config: dict[str, Any], fields: dict[str, Any], words: str) -> None:
        assert said(kind, config, **fields) == words

    @given(st.integers(1, 400 * 86400), st.integers(-5, 400))
    def test_a_life_may_be_as_long_as_the_rule_says_to_the_second(self, seconds: int, days: int) -> None:
        """A certificate lives from the first second of its validity to the last (RFC 5280 section 4.1.2.5)."""
        validity = (NOW, NOW + timedelta(seconds=seconds - 1))
        broken = bool(said("CertificateLifetime", {"max_days": days}, validity))
        assert broken is (days > 0 and seconds > days * 86400)

    def test_what_was_never_issued_has_no_life(self) -> None:
        assert said("CertificateLifetime", {"max_days": 1}) == ""

    def test_a_plan_is_judged_by_the_life_it_will_have(self) -> None:
        demand = rules.read(PolicyType.CERTIFICATE_LIFETIME, {"max_days": 90})
        life = {"not_before": NOW, "not_after": NOW + 90 * DAY}
        assert "longer than 90 days" in demand.broken_by(demands.as_planned(certificate(), plan(**life), NOW))
        life["not_after"] -= timedelta(seconds=1)
        assert demand.broken_by(demands.as_planned(certificate(), plan(**life), NOW)) == ""

    @given(st.integers(-100, 100), st.integers(1, 60), st.integers(-3600, 3600))
    def test_what_ends_soon_was_to_be_renewed(self, days: int, lead: int, seconds: int) -> None:
        ends = NOW + days * DAY + timedelta(seconds=seconds)
        broken = bool(said("RenewalLeadTime", {"lead_time_days": lead}, expires_at=ends))
        assert broken is (timedelta(0) < ends - NOW < lead * DAY)

    @pytest.mark.parametrize("config", [{}, {"lead_time_days": 0}, {"lead_time_days": -3}])
    def test_without_a_lead_time_it_is_thirty_days(self, config: dict[str, Any]) -> None:
        assert said("RenewalLeadTime", config, expires_at=NOW + 29 * DAY)
        assert not said("RenewalLeadTime", config, expires_at=NOW + 30 * DAY)

    def test_what_was_never_issued_ends_at_no_time(self) -> None:
        assert said("RenewalLeadTime", {}) == ""

    @given(st.integers(-100, 100), st.integers(1, 60), st.lists(st.integers(0, 200 * 86400), max_size=20))
    def test_between_two_looks_the_answer_is_the_same(self, days: int, lead: int, moments: list[int]) -> None:
        """Whoever looks when told to never misses a change: this is what a sweep relies on."""
        demand = rules.read(PolicyType.RENEWAL_LEAD_TIME, {"lead_time_days": lead})
        seen = demands.as_it_is(certificate(expires_at=NOW + days * DAY), None, NOW)
        answer, look_at = bool(demand.broken_by(seen)), demand.next_look(seen)
        for moment in sorted(moments):
            then = evolve(seen, at=NOW + timedelta(seconds=moment))
            while look_at is not None and look_at <= then.at:
                looked = evolve(seen, at=look_at)
                answer, following = bool(demand.broken_by(looked)), demand.next_look(looked)
                assert following is None or following > look_at
                look_at = following
            assert answer is bool(demand.broken_by(then))

    @pytest.mark.parametrize("kind", [kind for kind in PolicyType if kind is not PolicyType.RENEWAL_LEAD_TIME])
    def test_time_alone_changes_nothing_else(self, kind: PolicyType) -> None:
        config = {"allowed_domains": ["example.com"]} if kind is PolicyType.ALLOWED_DOMAINS else {}
        seen = demands.as_it_is(certificate(expires_at=NOW + DAY), (NOW, NOW + DAY), NOW)
        assert rules.read(kind, config).next_look(seen) is None


class TestSettings:
    @pytest.mark.parametrize(
        ("kind", "config", "problems"),
        [
            ("AllowedDomains", {}, {"config.allowed_domains": "at least one"}),
            ("AllowedDomains", {"allowed_domains": []}, {"config.allowed_domains": "at least one"}),
            ("AllowedDomains", {"allowed_domains": "a.com"}, {"config.allowed_domains": "a list"}),
            (
                "AllowedDomains",
                {
                    "allowed_domains": [
                        "a.example",
                        7,
                        "",
                        "a b.example",
                        "*",
                        "*.*.x",
                        "a@b.example",
                        "https://b.example",
                    ]
                },
                {f"config.allowed_domains[{index}]": "" for index in range(1, 8)},
            ),
            ("AllowedDomains", {"allowed_domains": ["bücher.example"]}, {"config.allowed_domains[0]": "A-labels"}),
            ("AllowedDomains", {"allowed_domains": ["10.1.2.3/8"]}, {"config.allowed_domains[0]": "network"}),
            ("AllowedDomains", {"allowed_domains": ["x.example"] * 1001}, {"config.allowed_domains": "at most 1000"}),
            ("AllowedIssuers", {"allowed_issuer_ids": [None]}, {"config.allowed_issuer_ids[0]": "a text"}),
            ("AllowedIssuers", {"allowed": []}, {"config.allowed": "which has allowed_issuer_ids"}),
            ("AllowedEnvironments", {"allowed": ["a\nb"]}, {"config.allowed[0]": "a text"}),
            ("RequiredMetadata", {"required_keys": {"a": 1}}, {"config.required_keys": "a list"}),
            ("RenewalLeadTime", {"lead_time_days": "14"}, {"config.lead_time_days": "whole number"}),
            ("RenewalLeadTime", {"lead_time_days": True}, {"config.lead_time_days": "whole number"}),
            ("RenewalLeadTime", {"lead_time_days": 36501}, {"config.lead_time_days": "at most 36500"}),
            ("CertificateLifetime", {"max_days": 1.5, "x": 1}, {"config.max_days": "whole", "config.x": "max_days"}),
        ],
    )
    def test_everything_that_is_wrong_is_named(
        self, kind: str, config: dict[str, Any], problems: dict[str, str]
    ) -> None:
        with pytest.raises(Invalid) as refused:
            rules.read(PolicyType(kind), config)
        found = {problem.field: problem.message for problem in refused.value.fields}
        assert list(found) == list(problems)
        for field, words in problems.items():
            assert words in found[field]

    @given(
        st.sampled_from(PolicyType),
        st.dictionaries(
            st.sampled_from(
                ["allowed_issuer_ids", "allowed_domains", "required_keys", "allowed", "lead_time_days", "max_days", "?"]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
                max_leaves=4,
            ),
            max_size=2,
        ),
    )
    def test_any_settings_are_refused_by_name_or_can_be_judged_by(self, kind: PolicyType, config: Any) -> None:
        try:
            demand = rules.read(kind, config)
        except Invalid as error:
            assert {problem.field.partition(".")[0] for problem in error.fields} == {"config"}  # noqa: PT017
            return
        seen = demands.as_it_is(certificate(expires_at=NOW + DAY), (NOW, NOW + DAY), NOW)
        assert isinstance(demand.broken_by(seen), str)


class TestScope:
    def rule(self, **about: Any) -> PolicyRule:
        return PolicyRule(
            id=PolicyRuleId("pr-1"),
            name="rule",
            type=PolicyType.ALLOWED_ISSUERS,
            created_at=NOW,
            updated_at=NOW,
            **about,
        )

    @pytest.mark.parametrize(
        ("about", "concerned"),
        [
            ({}, True),
            ({"team_ids": ("t-1", "t-2")}, True),
            ({"team_ids": ("t-2",)}, False),
            ({"environments": ("production",)}, True),
            ({"environments": ("",)}, False),
            ({"agent_group_ids": ("ag-1",)}, True),
            ({"agent_group_ids": ("ag-2",)}, False),
            ({"team_ids": ("t-1",), "environments": ("test",)}, False),
            ({"team_ids": ("t-1",), "environments": ("production",), "agent_group_ids": ("ag-2", "ag-1")}, True),
        ],
    )
    def test_a_certificate_has_to_be_in_one_of_each(self, about: dict[str, Any], *, concerned: bool) -> None:
        groups = frozenset({AgentGroupId("ag-1"), AgentGroupId("ag-3")})
        assert rules.concerns(self.rule(**about), certificate(), groups) is concerned

    def test_without_agents_it_is_in_no_group(self) -> None:
        assert not rules.concerns(self.rule(agent_group_ids=("ag-1",)), certificate(), frozenset())
        assert rules.concerns(self.rule(), certificate(), frozenset())

    @pytest.mark.parametrize("status", CertificateStatus)
    def test_what_was_withdrawn_or_put_away_is_not_judged(self, status: CertificateStatus) -> None:
        over = status in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED)
        assert rules.is_judged(certificate(status=status)) is not over
