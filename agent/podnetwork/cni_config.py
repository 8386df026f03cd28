"""The CNI configuration of this node: a bridge, and addresses from the node's pod CIDRs.

Pure. Masquerading and host ports are left out on purpose: they are rules, and rules are the proxy's. Follows
the CNI specification 1.0 and the manuals of the bridge and host-local plugins.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Final

BRIDGE: Final = "berth0"
FILE_NAME: Final = "10-berth.conflist"
_DEFAULT_ROUTE: Final = {4: "0.0.0.0/0", 6: "::/0"}


def render_cni_config(pod_cidrs: Sequence[str], state_dir: Path) -> str:
    """The conflist's text for pod CIDRs of one or both families; `state_dir` holds host-local's leases.

    Raises ValueError when a CIDR isn't one.
    """
    networks = [ip_network(cidr) for cidr in pod_cidrs]
    config = {
        "cniVersion": "1.0.0",
        "name": "berth",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(state_dir),
                    "ranges": [[{"subnet": str(network)}] for network in networks],
                    "routes": [{"dst": _DEFAULT_ROUTE[network.version]} for network in networks],
                },
            }
        ],
    }
    return json.dumps(config, indent=2) + "\n"
