"""Redrives and purges of many dead letters, in the background, until done or cancelled."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from cli.core.errors import one_line
from cli.dead_letters import not_seen
from handlers.shared.backlog import whole
from handlers.shared.dead_letters import DeadLetters
from handlers.shared.letters import Wanted
from handlers.shared.passes import Control, Pass

ALL = float("inf")
KEPT_JOBS = 20
STOP_SECONDS = 20


@dataclass
class Job:
    """A redrive or a purge. `state` is running, done, incomplete, cancelled or failed."""

    number: int
    kind: str
    error_type: str | None
    a_second: int
    total: int
    state: str = "running"
    done: int = 0
    error: str = ""
    cancelled: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """The jobs of a console, the newest first. They belong to the console, not to a page: a reload shows them again."""

    def __init__(
        self, letters: DeadLetters, queue_url: str | None, refuse_ended: Callable[[], None] = lambda: None
    ) -> None:
        self._letters = letters
        self._queue_url = queue_url
        self._refuse_ended = refuse_ended
        self._jobs: list[Job] = []
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def all(self) -> list[Job]:
        """Return the jobs, newest first."""
        with self._lock:
            return list(self._jobs)

    def start(
        self, kind: str, error_type: str | None, a_second: int, ended: Callable[[int], None] = lambda _: None
    ) -> Job:
        """Begin a job, whose end `ended` is told with the number of letters.

        Raises ValueError while another one runs, because both would hide letters from each other.
        """
        with self._lock:
            if any(job.state == "running" for job in self._jobs):
                raise ValueError("another job runs; wait for it, or cancel it")
            number = self._jobs[0].number + 1 if self._jobs else 1
            job = Job(number, kind, error_type, a_second, total=self._letters.depth() or 0)
            self._jobs = [job, *self._jobs][:KEPT_JOBS]
            name = f"console-job-{job.number}"
            self._thread = threading.Thread(target=self._run, args=[job, ended], daemon=True, name=name)
            self._thread.start()
        return job

    def cancel(self, number: int) -> None:
        """Stop a job after the messages that it is moving."""
        for job in self.all():
            if job.number == number:
                job.cancelled.set()

    def stop(self) -> None:
        """Cancel the job that runs, and wait until it has made the letters visible again that it holds."""
        for job in self.all():
            job.cancelled.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self, job: Job, ended: Callable[[int], None]) -> None:
        def progress(done: Pass) -> None:
            job.done = done.done
            self._refuse_ended()

        def run(control: Control) -> Pass:
            if job.kind == "redrive":
                return self._letters.redrive(str(self._queue_url), wanted, ALL, ALL, control)
            return self._letters.purge(wanted, ALL, ALL, control)

        wanted = Wanted(job.error_type)
        try:
            done = whole(run, Control(job.a_second, job.cancelled.wait, progress))
            job.done = done.done
            ended(job.done)
            if done.error is not None or done.failed:
                job.error = one_line(done.error) if done.error else f"{done.failed} letters could not be moved"
                job.state = "failed"
                return
            if job.cancelled.is_set() or done.complete:
                job.state = "cancelled" if job.cancelled.is_set() else "done"
                return
            job.error = "the rest is behind others of its groups" if done.held_back else not_seen(done).strip("; ")
            job.state = "incomplete"
        except Exception as error:  # noqa: BLE001  the page shows it; nobody waits for this thread
            job.error, job.state = f"{type(error).__name__}: {one_line(error)}", "failed"
