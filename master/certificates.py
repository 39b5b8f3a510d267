"""The certificates of a run: an authority that is drawn for it, and the certificate of its members."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from results.atomic_file import new_directory, write_atomically
from results.credentials import AUTHORITY, MEMBER

#: Membership ends with the run's files, never by the clock: hosts disagree on the time, and a study may last.
_NOT_BEFORE = datetime(2000, 1, 1, tzinfo=timezone.utc)
#: "No well-defined expiration date" (RFC 5280, section 4.1.2.5).
_NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)


def write_certificates(folder: Path) -> None:
    """Draws an authority and writes its certificate, and the certificate and key of the run's members.

    All members share one certificate, because all of them read the same files.  The authority's private key is never
    written: nobody can make another certificate that this run's members accept.

    Args:
        folder: Folder to make (mode 0700), with ``authority.pem`` and ``member.pem`` (mode 0600); it appears whole.

    Raises:
        OSError: The folder cannot be written.
    """
    authority_key, member_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name, member_name = _name("nasbohb: authority of a run"), _name("nasbohb: member of a run")
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    member = (
        _builder(member_name, authority_name, member_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    private = member_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with new_directory(folder) as draft:
        draft.chmod(0o700)
        write_atomically(draft / AUTHORITY, authority.public_bytes(serialization.Encoding.PEM), mode=0o600)
        write_atomically(draft / MEMBER, member.public_bytes(serialization.Encoding.PEM) + private, mode=0o600)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(issuer, subject, key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
