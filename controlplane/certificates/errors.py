"""The package's root error.

Pure. Its text is one sentence that names the file and what to do; it never holds key material.
"""


class CertificatesError(Exception):
    """A certificate or key that can't be read, trusted or written."""
