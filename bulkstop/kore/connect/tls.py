"""TLS: the trusted authorities, our own certificate, and the causes of failures."""

import re
import shlex
import ssl
from typing import NamedTuple

from bulkstop.errors import SettingsError
from bulkstop.model import RetryHint
from bulkstop.naming import name_setting
from bulkstop.text.faults import explain_os

HEAD_BYTES = 64 * 1024
"""The part of a file that is read to tell what it contains."""


class TlsFiles(NamedTuple):
    """PEM files: authorities to trust instead of the system's, and our own certificate with its key."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


NO_FILES = TlsFiles()


class _EncryptedError(Exception):
    """A key requires a password."""


def make_tls_context(files: TlsFiles = NO_FILES) -> ssl.SSLContext:
    """Return a context that verifies servers and has our certificate; raises SettingsError for an unusable file."""
    context = _trust(files.ca)
    if files.cert is not None:
        _identify(context, files.cert, files.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def is_encrypted_key(text: str) -> bool:
    """Return whether a private key in PEM form requires a password."""
    return "BEGIN ENCRYPTED PRIVATE KEY" in text or "Proc-Type: 4,ENCRYPTED" in text


def explain_open_key(path: str | None = None) -> str:
    """Return how to decrypt a private key, with a command if its path is known."""
    fault = "is encrypted, and nobody here could type its password"
    if path is None:
        return f"{fault}; decrypt it with openssl pkey, and let nobody else read what that writes"
    return f"{fault}; decrypt it: (umask 077; openssl pkey -in {shlex.quote(path)} -out open.key)"


def _trust(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # an SSLError is an OSError
        raise SettingsError(f" {ca}: {_explain_file(ca or '', error, 'certificate')}", setting="ca") from None


def _identify(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    def ask_password() -> str:
        raise _EncryptedError

    try:
        context.load_cert_chain(cert, key, ask_password)
    except _EncryptedError:
        name, path = ("cert", cert) if key is None else ("key", key)
        raise SettingsError(f" {path}: the key {explain_open_key(path)}", setting=name) from None
    except OSError as error:
        raise _find_unusable(cert, key, error) from None


def _find_unusable(cert: str, key: str | None, error: OSError) -> SettingsError:
    """Return which file of our own certificate is unusable, and why."""
    if fault := _find_fault(cert, "certificate"):
        return SettingsError(f" {cert}: {fault}", setting="cert")
    if key is not None and (fault := _find_fault(key, "private key")):
        return SettingsError(f" {key}: {fault}", setting="key")
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return SettingsError(f" {key or cert}: is the key of another certificate than {cert}", setting="key")
    if key is None:
        return SettingsError(f" {cert}: has no private key in it; give {name_setting('key', 'FILE')}", setting="cert")
    return SettingsError(f" {cert}: cannot be used with {key} ({_word_of(error)})", setting="cert")


def _explain_file(path: str, error: OSError, wanted: str) -> str:
    return _find_fault(path, wanted) or f"is not a readable file of PEM certificates ({_word_of(error)})"


def _find_fault(path: str, wanted: str) -> str | None:
    """Return what a file is if it lacks what is wanted; None if it seems to have that."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a folder or an invalid name is an OSError here, too
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        return f"cannot be read ({explain_os(error)})"
    kinds = re.findall(rb"-----BEGIN ([A-Z0-9 ]+)-----", head)
    if any(_is_wanted(kind, wanted) for kind in kinds):
        return None
    fault, command = _name_content(head, kinds, path, wanted)
    form = "" if wanted == "private key" else f"; a {wanted} in PEM form is wanted (-----BEGIN CERTIFICATE-----)"
    return f"{fault}{form}{f'; make it so: {command}' if command else ''}"


def _is_wanted(kind: bytes, wanted: str) -> bool:
    if wanted == "certificate":
        return kind in (b"CERTIFICATE", b"TRUSTED CERTIFICATE", b"X509 CERTIFICATE")
    return kind.endswith(b"PRIVATE KEY")


def _name_content(head: bytes, kinds: list[bytes], path: str, wanted: str) -> tuple[str, str]:
    """Return what a file contains, and the command that converts it, if there is one."""
    name = shlex.quote(path)
    if kinds == [b"PKCS7"]:
        return "is a PKCS#7 file", f"openssl pkcs7 -print_certs -in {name} -out all.pem"
    if kinds:
        return _PEM_KINDS.get(kinds[0], f"holds {kinds[0].decode().lower()}"), ""
    if not head.strip():
        return "is empty", ""
    if head[:1] == b"\x30":  # a DER sequence; a PKCS#12 file begins with its version, 3
        if b"\x02\x01\x03" in head[:8]:
            return "is a PKCS#12 file", f"(umask 077; openssl pkcs12 -in {name} -nodes -out all.pem)"
        if wanted == "private key":
            return "is in DER form", f"(umask 077; openssl pkey -inform der -in {name} -out open.key)"
        return "is in DER form", f"openssl x509 -inform der -in {name} -out cert.pem"
    return "holds nothing in PEM form", ""


_PEM_KINDS = {
    b"CERTIFICATE": "is a certificate, no private key",
    b"CERTIFICATE REQUEST": "is a request for a certificate, no certificate",
    b"NEW CERTIFICATE REQUEST": "is a request for a certificate, no certificate",
    b"PUBLIC KEY": "is a public key, no certificate",
    b"PRIVATE KEY": "is a private key, no certificate",
    b"RSA PRIVATE KEY": "is a private key, no certificate",
    b"EC PRIVATE KEY": "is a private key, no certificate",
    b"ENCRYPTED PRIVATE KEY": "is a private key, no certificate",
    b"OPENSSH PRIVATE KEY": "is a key of SSH, no certificate",
    b"X509 CRL": "is a list of revoked certificates, no certificate",
}


def explain_tls(error: ssl.SSLError, host: str) -> tuple[str, RetryHint]:
    """Return what was wrong with TLS to a host, and whether a retry could help."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate {_explain_certificate(error, host)}; nothing was sent", RetryHint.NEVER
    if wanted := explain_refused_identity(error):
        return f"{wanted}; nothing was sent", RetryHint.NEVER
    reason = reason_of(error)
    why = _REASONS.get(reason) or reason.replace("_", " ").lower() or type(error).__name__
    why = why.format(cert=name_setting("cert", "FILE"))
    return f"TLS could not be agreed with the server ({why}); nothing was sent", RetryHint.LATER


def explain_refused_identity(error: BaseException | None) -> str | None:
    """Return that a server requires or rejects our certificate; None for any other error."""
    # Under TLS 1.3 this arrives after the handshake, in place of a response.
    reason = reason_of(error)
    if reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED":
        cert, key = name_setting("cert", "FILE"), name_setting("key", "FILE")
        return f"the server asks for a client certificate; give {cert} and {key}"
    if reason in _REFUSED_IDENTITY:
        return (
            f"the server does not take the client certificate ({_REFUSED_IDENTITY[reason]}); see {name_setting('cert')}"
        )
    return None


def reason_of(error: BaseException | None) -> str:
    """Return OpenSSL's name for an error, even if a client has wrapped it."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason
    if isinstance(error, OSError) and (match := re.match(r"\[SSL: (\w+)\]", error.strerror or "")):
        return match[1]
    return ""


def _explain_certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    what = _VERIFY_FAULTS.get(error.verify_code)
    if what is None:
        return f"cannot be trusted: {error.verify_message}"
    return what.format(host=host, ca=name_setting("ca", "FILE"), where=name_setting("host"))


_UNKNOWN_ISSUER = (
    "is of an issuer that is not known here: the service leaves out an intermediate certificate, "
    "or its authority is one of your own (give {ca})"
)
_OTHER_HOST = "is for another host: it is not valid for {host}; check {where}"
_VERIFY_FAULTS = {
    9: "is not yet valid; the service must mend it, unless this machine's clock is behind",
    10: "has expired; the service must renew it, unless this machine's clock is ahead",
    18: "is self-signed; if it is the right one, give it as {ca}",
    19: "is of an authority that is not known here (self-signed, at the end of its chain); "
    "if it is one of your own, give {ca}",
    2: _UNKNOWN_ISSUER,
    20: _UNKNOWN_ISSUER,
    21: _UNKNOWN_ISSUER,
    23: "has been revoked; the service must renew it",
    24: "is signed by a certificate that is not an authority's; give the authority's own as {ca}",
    26: "is not made for servers; the service must have another one",
    62: _OTHER_HOST,
    64: _OTHER_HOST,
    66: "has a key that is too short to be trusted; the service must renew it",
    68: "is signed in a way that is too weak to be trusted; the service must renew it",
}
"""The meaning of OpenSSL's codes (X509_V_ERR_*) for a certificate, and what to do."""
_NO_TLS = "it does not speak TLS on this port"
_OLD_TLS = "its version of TLS is not taken here, or ours not there"
_REASONS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_TLS,
    "TLSV1_UNRECOGNIZED_NAME": "it has no certificate for this host",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it broke the handshake off; it may ask for a client certificate, {cert}",
}
_REFUSED_IDENTITY = {
    "SSLV3_ALERT_BAD_CERTIFICATE": "a bad one",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "of a kind that it does not take",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "unknown to it",
    "TLSV1_ALERT_UNKNOWN_CA": "of an issuer that is unknown to it",
    "TLSV1_ALERT_ACCESS_DENIED": "no access with it",
    "TLSV1_ALERT_DECRYPT_ERROR": "its signature is wrong",
}


def _word_of(error: OSError) -> str:
    return reason_of(error).replace("_", " ").lower() or error.strerror or type(error).__name__
