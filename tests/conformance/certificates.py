"""Certificates of a test's own: an authority, a server of 127.0.0.1, a client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey


def make_certificates(folder: Path) -> None:
    """`ca.pem`, `server.pem`, `client.pem`, their `.key`s, and `other.pem`: an authority that signed none of them.

    The server's name is the address 127.0.0.1 only: whoever asks for `localhost` gets the certificate of another host.
    """
    authority, key = _authority("of the test"), ec.generate_private_key(ec.SECP256R1())
    ca = _signed(authority, key, authority, key, ca=True)
    other = ec.generate_private_key(ec.SECP256R1())
    _write(folder / "ca.pem", ca)
    _write(folder / "other.pem", _signed(_authority("of others"), other, _authority("of others"), other, ca=True))
    for name in ("server", "client"):
        own = ec.generate_private_key(ec.SECP256R1())
        _write(folder / f"{name}.pem", _signed(_authority(name), own, authority, key, ca=False))
        text = own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.key").write_bytes(text)


def _authority(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _signed(name: x509.Name, key: Key, issuer: x509.Name, by: Key, *, ca: bool) -> x509.Certificate:
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )
    if ca:
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        made = made.add_extension(usage, critical=True)
    else:
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        made = made.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    return made.sign(by, hashes.SHA256())


def _write(file: Path, certificate: x509.Certificate) -> None:
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
