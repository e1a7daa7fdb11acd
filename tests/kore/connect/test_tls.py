"""Each TLS fault, and each unusable file, has its own message."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bulkstop.errors import SettingsError
from bulkstop.kore.connect.tls import TlsFiles, explain_refused_identity, explain_tls, make_tls_context
from bulkstop.model import RetryHint
from tests.servers import authority


def make_fault(code: int, message: str = "") -> ssl.SSLCertVerificationError:
    """Make the error that OpenSSL's code becomes."""
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {message}")
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("code", "words", "names_ca"),
    [
        (9, "is not yet valid", False),
        (10, "has expired", False),
        (18, "is self-signed", True),
        (19, "is of an authority that is not known here", True),
        (20, "leaves out an intermediate certificate", True),
        (21, "leaves out an intermediate certificate", True),
        (62, "is for another host: it is not valid for api.example", False),
        (64, "is for another host: it is not valid for api.example", False),
        (23, "has been revoked", False),
        (999, "cannot be trusted: something else", False),
    ],
)
def test_certificate(code: int, words: str, names_ca: bool) -> None:
    """Each fault of a certificate is named; an authority is suggested only where one could help."""
    why, again = explain_tls(make_fault(code, "something else"), "api.example")
    assert words in why
    assert ("ca=" in why) is names_ca
    assert why.endswith("; nothing was sent")
    assert again is RetryHint.NEVER


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("WRONG_VERSION_NUMBER", "TLS could not be agreed with the server (it does not speak TLS on this port)"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "it may ask for a client certificate, cert="),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "the server asks for a client certificate; give cert="),
        ("TLSV1_ALERT_UNKNOWN_CA", "the server does not take the client certificate (of an issuer that is unknown"),
        ("BAD_THING", "TLS could not be agreed with the server (bad thing)"),
    ],
)
def test_handshake(reason: str, words: str) -> None:
    """The cause of a failed handshake is named, even if a client wraps OpenSSL's error."""
    error = ssl.SSLError(1, f"[SSL: {reason}] words")
    error.reason = reason
    assert words in explain_tls(error, "api.example")[0]
    refused = explain_refused_identity(OSError(1, f"[SSL: {reason}] words (_ssl.c:1)"))
    assert (refused is not None) is ("client certificate;" in words or "does not take" in words)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create files of every kind that may be confused with another."""
    folder = tmp_path_factory.mktemp("files")
    ca, _ = authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    form, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "other.key").write_bytes(key.private_bytes(form, pkcs8, serialization.NoEncryption()))
    (folder / "locked.key").write_bytes(key.private_bytes(form, pkcs8, serialization.BestAvailableEncryption(b"pw")))
    begin = "-----BEGIN CERT"
    (folder / "cert.pem").write_text(begin + (folder / "server.pem").read_text().split(begin)[1])
    (folder / "ca.der").write_bytes(ssl.PEM_cert_to_DER_cert(ca.read_text()))
    (folder / "all.p12").write_bytes(b"\x30\x82\x01\x00\x02\x01\x03" + bytes(50))
    (folder / "asked.csr").write_text("-----BEGIN CERTIFICATE REQUEST-----\n")
    (folder / "empty").touch()
    (folder / "junk").write_bytes(b"\xff\x00 no certificate")
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone", "cannot be read (No such file or directory)"),
        (".", "cannot be read (Is a directory)"),
        ("empty", "is empty"),
        ("junk", "holds nothing in PEM form"),
        ("other.key", "is a private key, no certificate"),
        ("locked.key", "is a private key, no certificate"),
        ("ca.der", "is in DER form; a certificate in PEM form is wanted (-----BEGIN CERTIFICATE-----)"),
        ("all.p12", "is a PKCS#12 file"),
        ("asked.csr", "is a request for a certificate"),
    ],
)
def test_wrong_kind_of_file(files: Path, name: str, words: str) -> None:
    """A wrong file for an authority, or for our certificate, is reported by its actual kind."""
    for role, given in (("ca", TlsFiles(ca=str(files / name))), ("cert", TlsFiles(cert=str(files / name)))):
        with pytest.raises(SettingsError) as caught:
            make_tls_context(given)
        assert str(caught.value).startswith(f"{role} {files / name}: {words}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("cert.pem", "locked.key", "key {key}: the key is encrypted"),
        ("cert.pem", "other.key", "key {key}: is the key of another certificate than {cert}"),
        ("cert.pem", "cert.pem", "key {key}: is a certificate, no private key"),
        ("cert.pem", None, "cert {cert}: has no private key in it; give key="),
    ],
)
def test_wrong_key(files: Path, cert: str, key: str | None, words: str) -> None:
    """A key that is encrypted (there is no password prompt), of another certificate, or missing is named."""
    paths = {"cert": str(files / cert), "key": str(files / key) if key else None}
    with pytest.raises(SettingsError) as caught:
        make_tls_context(TlsFiles(**paths))
    assert str(caught.value).startswith(words.format(**paths))


def test_key_in_the_same_file(files: Path) -> None:
    """A certificate and its key may be in one file."""
    make_tls_context(TlsFiles(cert=str(files / "server.pem")))
