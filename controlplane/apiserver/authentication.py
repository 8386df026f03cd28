"""Who a request comes from: the subject of a client certificate that the TLS layer has verified.

Pure. Called once per connection by the HTTP layer. CN is the user, each O a group, as in "Authenticating"
in the Kubernetes documentation. Other credentials get a module each beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

AUTHENTICATED_GROUP: Final = "system:authenticated"
UNAUTHENTICATED_GROUP: Final = "system:unauthenticated"
ANONYMOUS_NAME: Final = "system:anonymous"


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: frozenset[str]

    @property
    def is_anonymous(self) -> bool:
        return self.name == ANONYMOUS_NAME


ANONYMOUS: Final = User(ANONYMOUS_NAME, frozenset({UNAUTHENTICATED_GROUP}))


def read_user(certificate: Mapping[str, Any] | None) -> User:
    """From a peer certificate as Python's ssl describes it; nobody in particular without one."""
    names: dict[str, list[str]] = {}
    for relative_name in (certificate or {}).get("subject", ()):
        for attribute, value in relative_name:
            names.setdefault(attribute, []).append(value)
    common_names = names.get("commonName", [])
    if not common_names or not common_names[-1]:
        return ANONYMOUS
    return User(common_names[-1], frozenset({*names.get("organizationName", ()), AUTHENTICATED_GROUP}))
