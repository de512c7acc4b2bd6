"""A server of e-mail on this machine that speaks as much of SMTP as a client needs: STARTTLS, TLS, and a login."""

from __future__ import annotations

import base64
import ipaddress
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Mailbox:
    """What the server has received, and how it behaves."""

    security: str = "none"
    password: str | None = None
    drip_s: float = 0.0  # pause after each letter of its greeting
    port: int = 0
    messages: list[Message] = field(default_factory=list)
    receivers: list[list[str]] = field(default_factory=list)
    was_encrypted: list[bool] = field(default_factory=list)


class _Session(socketserver.StreamRequestHandler):
    box: Mailbox
    tls: ssl.SSLContext

    def handle(self) -> None:
        is_encrypted, is_known, to = self.box.security == "ssl", self.box.password is None, list[str]()
        if is_encrypted:
            self._encrypt()
        if self.box.drip_s:
            for letter in b"220 slow":
                self.wfile.write(bytes([letter]))
                time.sleep(self.box.drip_s)
        self._say("220 local ready")
        while line := self.rfile.readline().decode().strip():
            word = line.split()[0].upper()
            if word == "EHLO":
                offers = ["local"]
                if self.box.security == "starttls" and not is_encrypted:
                    offers.append("STARTTLS")
                if self.box.password is not None:
                    offers.append("AUTH PLAIN")
                for offer in offers[:-1]:
                    self._say(f"250-{offer}")
                self._say(f"250 {offers[-1]}")
            elif word == "STARTTLS":
                self._say("220 go ahead")
                self._encrypt()
                is_encrypted = True
            elif word == "AUTH":
                given = base64.b64decode(line.split()[2]).decode().split("\0")
                is_known = given[1:] == ["desk", self.box.password]
                self._say("235 welcome" if is_known else "535 wrong user or password")
            elif word == "RCPT":
                to.append(line.partition("<")[2].partition(">")[0])
                self._say("250 ok" if is_known else "530 log in first")
            elif word == "DATA":
                self._say("354 end with a dot")
                lines = iter(self.rfile.readline, b".\r\n")
                self.box.messages.append(message_from_bytes(b"".join(lines)))
                self.box.receivers.append(to)
                self.box.was_encrypted.append(is_encrypted)
                self._say("250 taken")
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def _encrypt(self) -> None:
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that gave up, as it should."""


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 and its key in one file, which clients must be told to trust."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "local.pem"
    file.write_bytes(made.public_bytes(pem) + private)
    return file


@contextmanager
def receiving(box: Mailbox, certified: Path) -> Iterator[Mailbox]:
    """The server at work, with its port in ``box``."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certified)
    server = _Server(("127.0.0.1", 0), type("Session", (_Session,), {"box": box, "tls": tls}))
    box.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
