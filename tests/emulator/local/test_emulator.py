"""The emulator's process: private, on 127.0.0.1 only, and never left behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local.emulator import HOST, Emulator
from local.errors import LocalError
from tests.processes import Process, happens, living

ROOT = Path(__file__).parents[3]

STARTER = """
import os, sys, time
from local.emulator import Emulator
with Emulator() as emulator:
    print(emulator.pid, emulator.folder, flush=True)
    time.sleep(60)
"""


def _processes_in(group: int) -> list[Process]:
    return [process for process in living() if process.group == group]


def _gone(group: int, folder: Path) -> bool:
    return happens(lambda: not _processes_in(group) and not folder.exists())


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_nothing_is_left_after_the_block() -> None:
    with Emulator() as emulator:
        group, folder = emulator.pid, emulator.folder
        assert _processes_in(group)
        assert emulator.running
    assert not emulator.running
    assert _gone(group, folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_the_parent_is_ended_by_a_signal(number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert _processes_in(int(pid))
        parent.send_signal(number)
    assert _gone(int(pid), Path(folder))


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=rf"^port {port} on 127.0.0.1 is taken .*--port[^\n]*$"):
            Emulator(port=port)


def test_a_failed_start_is_an_error_with_the_emulators_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = Emulator()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(LocalError, match="the emulator ended while starting: it printed nothing"), emulator:
        pass
    assert not emulator.folder.exists()


def test_its_folder_is_closed_to_others(emulator: Emulator) -> None:
    assert emulator.folder.stat().st_mode & 0o777 == 0o700


@linux
def test_it_does_not_get_the_users_aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "the-users-own")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-users-own")
    with Emulator() as emulator:
        variables = Path(f"/proc/{emulator.pid}/environ").read_text().split("\0")
        home = next(variable for variable in variables if variable.startswith("HOME="))
        assert Path(home.removeprefix("HOME=")).is_relative_to(emulator.folder)
    assert not [variable for variable in variables if "the-users-own" in variable]


@linux
def test_it_listens_on_the_loopback_address_only(emulator: Emulator) -> None:
    inodes = {
        str(link.readlink()).removeprefix("socket:[").rstrip("]")
        for link in Path(f"/proc/{emulator.pid}/fd").iterdir()
        if str(link.readlink()).startswith("socket:[")
    }
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1])
    assert listening == [f"0100007F:{emulator.port:04X}"]
