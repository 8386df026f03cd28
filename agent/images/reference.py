"""Image references as pod specs spell them: valid or not, their registry, tag and default pull policy.

Pure. Called by `plan` and `source`. Follows the grammar of the distribution project's references and the
"Images" page of the Kubernetes documentation (default registry, default tag, default pull policy).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DEFAULT_REGISTRY: Final = "docker.io"
_MAX_NAME: Final = 255

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_LABEL: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE: Final = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
_BARE_ID: Final = re.compile(r"[a-f0-9]{64}")


class PullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A valid reference; `tag` is the default one where neither tag nor digest was given."""

    name: str
    tag: str
    digest: str

    @property
    def text(self) -> str:
        """What the runtime is asked for."""
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def registry(self) -> str:
        """The host that serves it, by the rule of the first component with a dot, a colon or `localhost`."""
        first, slash, _ = self.name.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
            return first
        return DEFAULT_REGISTRY


def parse_image_reference(image: str) -> ImageReference | None:
    """The reference with its default tag, or None for text that is none."""
    match = _REFERENCE.fullmatch(image)
    if match is None or len(match["name"]) > _MAX_NAME or _BARE_ID.fullmatch(image):
        return None
    tag, digest = match["tag"] or "", match["digest"] or ""
    return ImageReference(match["name"], tag if tag or digest else "latest", digest)


def choose_pull_policy(policy: str, reference: ImageReference) -> PullPolicy:
    """The policy, by default Always for `latest` and IfNotPresent for the rest."""
    if policy:
        return PullPolicy(policy)
    return (
        PullPolicy.ALWAYS if reference.tag == "latest" and not reference.digest else PullPolicy.IF_NOT_PRESENT
    )
