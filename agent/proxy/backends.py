"""Which backend this node's rules go through.

Shell: asks the kernel. Called once by the proxy. The mode `auto` means nftables where the kernel can hold our
layout, and iptables elsewhere.
"""

from __future__ import annotations

import logging
from ipaddress import ip_network

from agent.settings import ProxyMode
from netrules.backend import RuleBackend
from netrules.errors import RulesUnsupported
from netrules.iptables.backend import IptablesBackend
from netrules.model import Family
from netrules.nftables.backend import NftablesBackend
from netrules.services import RulesetSettings

Backends = tuple[RuleBackend, ...]
"""One for each family, all of one kind."""

logger = logging.getLogger(__name__)


def build_ruleset_settings(cluster_cidr: str) -> tuple[RulesetSettings, ...]:
    """One for each family that the cluster's pods have addresses of; the CIDRs are separated by commas.

    Raises ValueError for anything that isn't a CIDR.
    """
    cidrs = [str(ip_network(part.strip(), strict=False)) for part in cluster_cidr.split(",") if part.strip()]
    by_family = {
        Family.IPV4: tuple(cidr for cidr in cidrs if ":" not in cidr),
        Family.IPV6: tuple(cidr for cidr in cidrs if ":" in cidr),
    }
    found = tuple(RulesetSettings(family, some) for family, some in by_family.items() if some)
    return found or (RulesetSettings(Family.IPV4),)


async def choose_backends(mode: ProxyMode, settings: tuple[RulesetSettings, ...]) -> Backends:
    """The backends of this mode; raises RulesUnsupported, with the reason, when the machine cannot."""
    nftables: Backends = tuple(NftablesBackend(family) for family in settings)
    if mode is not ProxyMode.IPTABLES:
        try:
            await _check(nftables)
        except RulesUnsupported as error:
            if mode is ProxyMode.NFTABLES:
                raise
            logger.info("nftables cannot be used, iptables is", extra={"reason": str(error)})
        else:
            return nftables
    iptables: Backends = tuple(IptablesBackend(family) for family in settings)
    await _check(iptables)
    return iptables


async def _check(backends: Backends) -> None:
    """Closes them all when one cannot be used."""
    try:
        for backend in backends:
            await backend.check_support()
    except BaseException:
        for backend in backends:
            backend.close()
        raise


def other_backends(chosen: Backends, settings: tuple[RulesetSettings, ...]) -> Backends:
    """Those whose rules an earlier run in another mode may have left."""
    if any(isinstance(backend, NftablesBackend) for backend in chosen):
        return tuple(IptablesBackend(family) for family in settings)
    return tuple(NftablesBackend(family) for family in settings)
