"""The issuers, each with the tree of its CAs."""

from collections.abc import Mapping, Sequence

from attrs import frozen
from cryptography import x509

from certctl_core.models.authorities import AuthorityState, CertificateAuthority
from certctl_core.pki import constraints, reading
from certctl_core.pki.reading import CertificateFacts
from certctl_core.ports.store import Query
from certctl_core.usecases import catalog, hierarchy
from certctl_core.usecases.hierarchy import Shown as ShownCa
from certctl_web.dashboard import listing
from certctl_web.dashboard.guard import Asked, Desk, Shown


@frozen
class Node:
    """A CA and those below it."""

    authority: CertificateAuthority
    signs_leafs: bool
    facts: CertificateFacts | None
    limits: tuple[str, ...]
    below: tuple["Node", ...]

    @property
    def is_over(self) -> bool:
        return self.authority.state is AuthorityState.RETIRED


def all_of_them(desk: Desk, asked: Asked) -> Shown:
    listed = listing.turn(
        lambda query: catalog.page_issuer(desk.ports, asked.visit.principal, query),
        Query(sort="name"),
        asked.fields,
        "/issuers",
        lambda issuer: (issuer.name, issuer.id),
        by_time=False,
    )
    found = hierarchy.of_each(desk.ports, [issuer.id for issuer in listed.items])
    trees = {identity: _tree(cas) for identity, cas in found.items()}
    return Shown("issuers.html", {"listed": listed, "trees": trees, "total": listed.total})


def _tree(cas: Sequence[ShownCa]) -> tuple[Node, ...]:
    """Roots, and those whose CA above is not among these, stand at the margin."""
    here = {one.authority.id for one in cas}
    below: dict[str, list[ShownCa]] = {}
    for one in cas:
        above = one.authority.parent_id
        below.setdefault(above if above in here else "", []).append(one)
    return tuple(_node(one, below) for one in below.get("", ()))


def _node(shown: ShownCa, below: Mapping[str, Sequence[ShownCa]]) -> Node:
    own = reading.certificate(shown.authority.chain[0]) if shown.authority.chain else None
    return Node(
        shown.authority,
        shown.signs_leafs,
        reading.facts(own) if own else None,
        _limits(own) if own else (),
        tuple(_node(one, below) for one in below.get(shown.authority.id, ())),
    )


def _limits(certificate: x509.Certificate) -> tuple[str, ...]:
    found = constraints.of(certificate)
    if found is None:
        return ()
    return (
        *(constraints.text_of(one) for one in found.permitted_subtrees or ()),
        *(f"not {constraints.text_of(one)}" for one in found.excluded_subtrees or ()),
    )
