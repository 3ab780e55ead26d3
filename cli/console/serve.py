"""The console's server: Hypercorn on 127.0.0.1, for as long as it is wanted."""

import asyncio
import contextlib
import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config

from cli.console.app import Console
from cli.console.gate import Gate
from cli.core.http import Access
from cli.core.signals import interrupt_on_signals
from cli.core.stack import Stack
from cli.core.terminal import write_lines
from local.emulator import HOST
from local.errors import LocalError

# A page asks again after this: on this machine at once; on AWS, where requests cost, more rarely.
LOCAL_SECONDS, AWS_SECONDS = 1.0, 10.0


@contextlib.contextmanager
def console(stack: Stack, access: Access, port: int, *, read_only: bool) -> Iterator[str]:
    """Serve the console in the background, and yield its address with the token. Raises LocalError."""
    listener = _listener(port)
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(24)
    every_seconds = LOCAL_SECONDS if stack.is_local else AWS_SECONDS
    pages = Console(stack, access, read_only=read_only, every_seconds=every_seconds)
    gate = Gate(pages.application(), port, token, read_only=read_only)
    config = Config()
    # The server closes it.
    config.bind = [f"fd://{listener.detach()}"]
    config.include_server_header = False
    config.accesslog = None
    config.loglevel = "WARNING"
    config.graceful_timeout = 0.5
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    def run() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(serve(cast("Any", gate), config, shutdown_trigger=stopped.wait))

    thread = threading.Thread(target=run, name="console", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{port}/?token={token}"
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(timeout=5)
        pages.stop()


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        # At once, so that who has the address need not wait for the server.
        listener.listen()
    except OSError as error:
        listener.close()
        raise LocalError(
            f"port {port} on {HOST} is taken ({error.strerror}); choose another with --port; 0 finds a free one"
        ) from error
    return listener


def run_console(stack: str, port: int, access: Access, *, read_only: bool, writable: bool, beside: bool = False) -> int:
    """Serve the console of a stack until Ctrl-C, and print its address. On AWS it is read-only unless `writable`.

    With `beside` it also ends with its standard input, whose other end `pipeline local` holds.
    """
    if beside:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    target = Stack(stack)
    read_only = read_only or not (writable or target.is_local)
    target.aim_aws_clients()
    interrupt_on_signals()
    with console(target, access, port, read_only=read_only) as address:
        write_lines([f"console of stack {stack!r}{' (read-only)' if read_only else ''}: {address}"])
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    # At once: the pipeline is gone, and with it all that a job could leave half done.
    os._exit(0)
