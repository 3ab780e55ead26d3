"""HTTPS in front of a port of this machine, so that the clients of a benchmark do what they do on AWS."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import botocore
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536
# The authorities that botocore trusts: a client loads as many as on AWS.
AUTHORITIES = Path(botocore.__file__).with_name("cacert.pem")


@contextmanager
def https(port: int, folder: Path) -> Iterator[tuple[int, Path]]:
    """Pass on to `port` what comes to a new HTTPS port. Yields that port and the file of the authorities to trust."""
    certificate, key, bundle = (folder / name for name in ("certificate.pem", "key.pem", "authorities.pem"))
    _write_certificate(certificate, key)
    bundle.write_bytes(AUTHORITIES.read_bytes() + certificate.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    loop = asyncio.new_event_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection(HOST, port)
        await asyncio.gather(_pump(reader, before), _pump(behind, writer))

    server = loop.run_until_complete(asyncio.start_server(answer, HOST, 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], bundle
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    # A client that has its answer may end the connection in any way.
    with suppress(ConnectionError, ssl.SSLError):
        while data := await source.read(CHUNK_BYTES):
            target.write(data)
            await target.drain()
    target.close()


def _write_certificate(certificate: Path, key: Path) -> None:
    """Write a certificate of its own for this machine, valid for a day."""
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
