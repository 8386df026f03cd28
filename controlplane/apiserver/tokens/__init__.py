"""Service-account tokens: what one says (`request`, pure), and its signature and public keys (`signer`).

Called by the HTTP layer for serviceaccounts/token and for the documents that let others verify tokens.
Accepting tokens is authentication's work, beside client certificates. Follows RFC 7519, RFC 7515, RFC 7517,
OpenID Connect Discovery 1.0 and "Managing Service Accounts" in the Kubernetes documentation.
"""

from __future__ import annotations
