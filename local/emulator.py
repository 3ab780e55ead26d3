"""The emulator: MiniStack, a pinned dependency, as a child process on 127.0.0.1 with IAM enforced."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from local.errors import LocalError
from local.packages import SDK_VARIABLE, sdk_folder

HOST = "127.0.0.1"
ACCOUNT = "000000000000"

START_SECONDS = 30
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Keys:
    """An access key with its secret."""

    access_key: str
    secret_key: str = field(repr=False)


class Emulator:
    """A running emulator, as a context manager: `with Emulator() as emulator: emulator.endpoint`.

    `start` returns at once; `wait` returns when it answers. `folder` is private and removed at the end. Raises
    LocalError when the port is taken (0 picks a free one) or the emulator does not come up.
    """

    def __init__(self, *, port: int = 0, region: str = "us-east-1", iam_log: Path | None = None) -> None:
        self.port = _free_port(port)
        self.region = region
        self.endpoint = f"http://{HOST}:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="pipeline-local-"))
        self.log = self.folder / "emulator.log"
        # The keys of root, new in each run: other users of the machine can connect to the port.
        self.keys = Keys(
            "AKIA" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(16)), secrets.token_hex(20)
        )
        # Proves that our process answers on the port, and not a server of another user.
        self._proof = secrets.token_hex(16)
        self._iam_log = iam_log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process. Does not wait for it."""
        for name in ("tmp", "state", "s3", "home"):
            (self.folder / name).mkdir(mode=0o700)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own file, with this Python
                [sys.executable, str(Path(__file__).with_name("launcher.py"))],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A process group of its own is ended as a whole, and does not get the terminal's Ctrl-C.
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        """Return an environment without the user's settings and credentials, as functions inherit it."""
        passed = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        return {
            **passed,
            # MiniStack reads the keys of its root here.
            "AWS_ACCESS_KEY_ID": self.keys.access_key,
            "AWS_SECRET_ACCESS_KEY": self.keys.secret_key,
            "PIPELINE_PROOF": self._proof,
            SDK_VARIABLE: str(sdk_folder()),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "STATE_DIR": str(self.folder / "state"),
            "S3_DATA_DIR": str(self.folder / "s3"),
            "GATEWAY_PORT": str(self.port),
            # MiniStack binds all interfaces unless told otherwise.
            "BIND_HOST": HOST,
            "MINISTACK_HOST": HOST,
            "MINISTACK_REGION": self.region,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "AUTH": "true",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "AWS_EC2_METADATA_DISABLED": "true",
            "LOG_LEVEL": "WARNING",
            **({"PIPELINE_IAM_LOG": str(self._iam_log)} if self._iam_log else {}),
        }

    def client_environment(self) -> dict[str, str]:
        """Return the variables that aim an AWS client at the emulator, as root."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.keys.access_key,
            "AWS_SECRET_ACCESS_KEY": self.keys.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }

    def wait(self) -> None:
        """Wait until the emulator answers. Raises LocalError when it does not start."""
        if self._process is None:
            raise LocalError("the emulator was not started")
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None:
                raise LocalError(f"the emulator ended while starting: {self._last_line()}")
            if time.monotonic() > deadline:
                raise LocalError(f"the emulator did not answer within {START_SECONDS} seconds: {self._last_line()}")
            time.sleep(POLL_SECONDS)

    @property
    def pid(self) -> int:
        """The process id, which is its process group's too. Raises LocalError when it does not run."""
        if self._process is None:
            raise LocalError("the emulator was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Return True if the process is alive."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the emulator and its workers, and remove its data. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            # SIGKILL at once: its own clean-up takes a second, and all its data is in the folder removed below.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.endpoint}/_ministack/health", timeout=1) as answer:
                return self._proof.encode() in answer.read(1_000)
        except (urllib.error.URLError, OSError):
            return False

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def __enter__(self) -> Self:
        """Start the emulator and wait until it answers."""
        self.start()
        try:
            self.wait()
        except BaseException:
            # Also on Ctrl-C, so that no process is left.
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the emulator."""
        self.stop()


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        # A port that a previous run has just closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LocalError(
                f"port {port} on {HOST} is taken ({error.strerror}); choose another with --port; 0 finds a free one",
            ) from error
        return int(probe.getsockname()[1])
