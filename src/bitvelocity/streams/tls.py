"""TLS to servers of topics, and to registries: whom we trust, what we show of ourselves, and what a refused handshake means.

The name of the host is always held against the certificate: a check that can be switched off is switched off.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from ..errors import BusError, SettingsError
from ..settings import TlsSettings


def trusting(ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Trust the authorities of the file `ca`, or those of this machine; show `certificate`, with the key in `key` or behind it."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise _unread("ca", ca, error, "authorities (PEM)") from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ValueError) as error:
            at = f"{certificate} with {key}" if key else certificate
            raise _unread("certificate", at, error, "our certificate (PEM), its key without a password") from error
    return context


def trusted(root: Path, own: TlsSettings) -> ssl.SSLContext | None:
    """The same of files that a section of settings names, whose paths begin at the project; None where none is named."""
    files = [root / name if name else None for name in (own.ca, own.certificate, own.key)]
    return trusting(*files) if any(files) else None


def tls_trouble(error: BaseException, who: str, section: str) -> tuple[str, str] | None:
    """What a handshake behind the error means, and what to do; a further attempt would not change it."""
    for found in behind(error):
        if isinstance(found, ssl.SSLCertVerificationError):
            named = found.verify_code in (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            remedy = f"Name the file of the authority that signed it: {section} ca."
            if named:
                remedy = "Connect by a name that the certificate has."
            return f"The certificate of {who} is not accepted: {found.verify_message.rstrip('.')}.", remedy
        if isinstance(found, ssl.SSLError):
            return (
                f"{who} and we do not agree on TLS: {found.reason or found}.",
                f"Does this port speak TLS? Does the server ask for a certificate of ours ({section} certificate and key)?",
            )
    return None


def tls_refusal(error: BaseException, who: str, section: str) -> BusError | None:
    """The error for it, of a bus."""
    trouble = tls_trouble(error, who, section)
    return trouble and BusError(trouble[0], safe="No password was sent.", remedy=trouble[1], code="TlsRefused")


def _unread(setting: str, at: object, error: Exception, what: str) -> SettingsError:
    why = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
    return SettingsError(f"{setting} = {at} cannot be read: {why}", remedy=f"Name a file with {what}.")


def behind(error: BaseException) -> Iterator[BaseException]:
    """An error, what it carries, and what caused it."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            wrapped = getattr(one, "exception", None), *getattr(one, "exceptions", ())  # pika's ways
            inner = [*one.args, *wrapped, one.__cause__, one.__context__]
            waiting += [each for each in inner if isinstance(each, BaseException)]
