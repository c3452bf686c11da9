"""Texts become the right kind of name, or are refused with words about them."""

from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from hypothesis import assume, given
from hypothesis import strategies as st

from certctl_core.errors import Invalid
from certctl_core.pki import names

ACCEPTED = {
    "example.com": x509.DNSName("example.com"),
    "EXAMPLE.com": x509.DNSName("example.com"),
    "localhost": x509.DNSName("localhost"),
    "*.example.com": x509.DNSName("*.example.com"),
    "_dmarc.example.com": x509.DNSName("_dmarc.example.com"),
    "a--b.example.com": x509.DNSName("a--b.example.com"),
    "xn--bcher-kva.example": x509.DNSName("xn--bcher-kva.example"),
    "3com.example": x509.DNSName("3com.example"),
    "192.0.2.1": x509.IPAddress(ip_address("192.0.2.1")),
    "2001:DB8::0001": x509.IPAddress(ip_address("2001:db8::1")),
    "::ffff:192.0.2.1": x509.IPAddress(ip_address("::ffff:192.0.2.1")),
    "Alice@EXAMPLE.com": x509.RFC822Name("Alice@example.com"),
    "a.b+c@example.com": x509.RFC822Name("a.b+c@example.com"),
    "spiffe://example.org/ns/a/sa/b": x509.UniformResourceIdentifier("spiffe://example.org/ns/a/sa/b"),
    "HTTPS://User@Example.com:8443/Path?Q=1": x509.UniformResourceIdentifier("https://User@example.com:8443/Path?Q=1"),
    "https://[2001:DB8::1]/": x509.UniformResourceIdentifier("https://[2001:db8::1]/"),
    "https://x.example?a@b": x509.UniformResourceIdentifier("https://x.example?a@b"),
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_name_is_of_the_kind_its_text_says(text: str) -> None:
    assert names.general_name(text) == ACCEPTED[text]


REFUSED = [
    "",
    ".",
    "example.com.",
    "a..b",
    "-a.example.com",
    "a-.example.com",
    "*",
    "*.",
    "a.*.example.com",
    "w*.example.com",
    "*.*.example.com",
    "exa mple.com",
    "bücher.example",
    "xn--.example",
    "xn--a.example",
    "xn--example-.example",
    "ab--cd.example",
    "a" * 64 + ".example",
    "a." * 127 + "example",
    "256.1.1.1",
    "1.2.3",
    "192.0.2.1:443",
    "192.0.2.01",
    "fe80::1%eth0",
    "192.0.2.0/24",
    "example.com\n",
    "example.com\0.evil.example",
    "@example.com",
    "alice@",
    "alice@*.example.com",
    "a@b@example.com",
    "alice bob@example.com",
    '"alice"@example.com',
    ".alice@example.com",
    "a" * 65 + "@example.com",
    "http://",
    "://example.com",
    "http:///path",
    "1http://example.com",
    "https://exa mple.com/",
    "https://example.com/%zz",
    "https://-example.com/",
    "https://example.com:99999/",
    "spiffe://Example.org:8080/a",
    "spiffe://user@example.org/a",
    "spiffe://example.org/a?b",
    "spiffe://example.org/a//b",
    "spiffe://example.org/../a",
    "https://example.com/" + "a" * 2048,
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        names.general_name(text)


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_refused_and_a_name_is_a_fixed_point(text: str) -> None:
    try:
        name = names.general_name(text)
    except Invalid:
        return
    again = names.general_name(names.text_of(name))
    assert again == name
    assert names.canonical(again) == names.canonical(name)


@given(st.from_regex(r"(\*\.)?[a-zA-Z0-9_]{1,20}(\.[a-zA-Z][a-zA-Z0-9_]{0,20}){0,4}", fullmatch=True))
def test_dns_names_are_compared_without_case(text: str) -> None:
    assume(not text.rpartition(".")[2].isdigit())
    assert names.same_names([names.general_name(text.upper())], [names.general_name(text.lower())])
    assert names.same_names([x509.DNSName(text.upper())], [x509.DNSName(text.lower())])


@given(st.ip_addresses())
def test_ip_addresses_are_compared_by_value(address: object) -> None:
    long_form = address.exploded  # type: ignore[attr-defined]
    assert names.canonical(names.general_name(long_form)) == names.canonical(names.general_name(str(address)))


def test_names_of_different_kinds_are_different_names() -> None:
    assert not names.same_names([x509.DNSName("192.0.2.1")], [x509.IPAddress(ip_address("192.0.2.1"))])


def test_local_parts_of_e_mail_addresses_keep_their_case() -> None:
    assert not names.same_names([x509.RFC822Name("Alice@a.example")], [x509.RFC822Name("alice@a.example")])
    assert names.same_names([x509.RFC822Name("alice@A.example")], [x509.RFC822Name("alice@a.example")])


def test_every_wrong_name_of_a_list_is_named() -> None:
    with pytest.raises(Invalid) as caught:
        names.general_names(["fine.example", "not fine", "also.fine", "-no"])
    assert [problem.field for problem in caught.value.fields] == ["sans[1]", "sans[3]"]


def test_too_many_names_are_refused() -> None:
    with pytest.raises(Invalid, match="more than"):
        names.general_names([f"h{number}.example" for number in range(names.MAX_SANS + 1)])


def test_a_list_of_names_has_each_name_once_in_its_order() -> None:
    assert names.general_names(["b.example", "a.example", "B.example"]) == (
        x509.DNSName("b.example"),
        x509.DNSName("a.example"),
    )


def test_the_common_name_comes_first_among_the_names() -> None:
    found = names.names_of("a.example", ["b.example", "A.example"])
    assert [names.text_of(name) for name in found] == ["a.example", "b.example"]


@pytest.mark.parametrize("text", ["a.example.com", "*.example.com", "192.0.2.1", "alice@example.com", "host_1"])
def test_a_common_name_is_a_host_an_address_or_a_mailbox(text: str) -> None:
    assert names.text_of(names.common_name(text)) == text


@pytest.mark.parametrize("text", ["", "a" * 254, "-a.example", "a..b", "alice@", "https://a.example/", "Alice Liddell"])
def test_a_wrong_common_name_is_refused_by_field(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        names.common_name(text)
    assert [problem.field for problem in caught.value.fields] == ["common_name"]


def test_a_long_common_name_leaves_the_subject_empty() -> None:
    long = "a" * 60 + ".example"
    assert names.subject(long).rdns == []
    assert names.common_name_of(names.subject("a.example")) == "a.example"
    assert names.common_name_of(names.subject(long)) == ""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (x509.DirectoryName(names.subject("x.example")), "dirName:CN=x.example"),
        (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), "RID:1.2.3"),
        (x509.IPAddress(ip_network("192.0.2.0/24")), "192.0.2.0/24"),
        (x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01a"), "otherName:1.2.3:0c0161"),
    ],
)
def test_names_that_are_never_issued_are_shown_with_their_kind(name: x509.GeneralName, shown: str) -> None:
    assert names.text_of(name) == shown
