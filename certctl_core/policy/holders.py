"""Who holds the private keys of a certificate: the agents on whose hosts its targets are."""

from collections.abc import Mapping

from certctl_core.ids import AgentId
from certctl_core.models.catalog import ConfiguredTarget
from certctl_core.models.certificates import ManagedCertificate


def holders_among(targets: Mapping[str, ConfiguredTarget], certificate: ManagedCertificate) -> tuple[AgentId, ...]:
    """The agents that hold, or will make, a private key for this certificate, in the order of its targets. `targets`
    are at least the certificate's."""
    usable = (targets[t] for t in certificate.target_ids if t in targets)
    return tuple(dict.fromkeys(t.agent_id for t in usable if t.enabled and t.retired_at is None))
