"""Redrives and purges of many dead letters: passes of a hundred, in the background, until done or cancelled."""

import threading
import time
from dataclasses import dataclass, field

from cli.core.errors import one_line
from handlers.shared.dead_letters import DeadLetters, Wanted

A_PASS = 100
PASS_SECONDS = 60
KEPT_JOBS = 20


@dataclass
class Job:
    """A redrive or a purge. `state` is running, done, cancelled or failed."""

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

    def __init__(self, letters: DeadLetters, queue_url: str | None) -> None:
        self._letters = letters
        self._queue_url = queue_url
        self._jobs: list[Job] = []
        self._lock = threading.Lock()

    def all(self) -> list[Job]:
        """Return the jobs, newest first."""
        with self._lock:
            return list(self._jobs)

    def start(self, kind: str, error_type: str | None, a_second: int) -> Job:
        """Begin a job. Raises ValueError while another one runs, because both would hide letters from each other."""
        with self._lock:
            if any(job.state == "running" for job in self._jobs):
                raise ValueError("another job runs; wait for it, or cancel it")
            number = self._jobs[0].number + 1 if self._jobs else 1
            job = Job(number, kind, error_type, a_second, total=self._letters.depth() or 0)
            self._jobs = [job, *self._jobs][:KEPT_JOBS]
        threading.Thread(target=self._run, args=[job], daemon=True, name=f"console-job-{job.number}").start()
        return job

    def cancel(self, number: int) -> None:
        """Stop a job after the messages that it is moving."""
        for job in self.all():
            if job.number == number:
                job.cancelled.set()

    def _run(self, job: Job) -> None:
        # Ten messages go in one call.
        size = max(10, min(A_PASS, job.a_second))
        try:
            while not job.cancelled.is_set():
                began = time.monotonic()
                if job.kind == "redrive":
                    done = self._letters.redrive(str(self._queue_url), Wanted(job.error_type), size, PASS_SECONDS)
                    moved = done.counts["redriven"]
                else:
                    done = self._letters.purge(Wanted(job.error_type), size, PASS_SECONDS)
                    moved = done.counts["deleted"]
                job.done += moved
                if done.error is not None or done.failed:
                    job.error = one_line(done.error) if done.error else f"{done.failed} letters could not be moved"
                    job.state = "failed"
                    return
                if done.complete or done.held_back or not moved:
                    job.error = "the rest is behind others of its groups" if done.held_back else ""
                    job.state = "done"
                    return
                # The pace: so many letters a second on average.
                job.cancelled.wait(max(0.0, moved / job.a_second - (time.monotonic() - began)))
            job.state = "cancelled"
        except Exception as error:  # noqa: BLE001  the page shows it; nobody waits for this thread
            job.error, job.state = f"{type(error).__name__}: {one_line(error)}", "failed"
