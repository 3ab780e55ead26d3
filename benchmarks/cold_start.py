"""One cold start in a process of its own, which benchmarks/cold.py starts with `python -I -S`.

    cold_start.py PORT:HTTPS_PORT EVENT_FILE ANSWER_FILE MODULE CLIENTS FOLDER...

Connections to PORT go to HTTPS_PORT. CLIENTS names the functions that make clients, such as
`handlers.shared.aws:client,botocore_client`. Nothing is imported before
the function's own imports that a bare Python does not have already. Times are CPU milliseconds of this process.
"""

import _socket
import sys
import time

redirect, event_file, answer_file, name, clients, *folders = sys.argv[1:]
sys.path[:0] = folders
port, https_port = map(int, redirect.split(":"))
original_lookup = _socket.getaddrinfo


def lookup(host, wanted, *rest):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN201  typing is an import
    """Return the addresses of a host, with the port to connect to."""
    return original_lookup(host, https_port if wanted == port else wanted, *rest)


_socket.getaddrinfo = lookup
bare = time.process_time()
making, depth = 0.0, 0


def timed(original):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  typing is an import
    """Add the time of making clients, once where one maker calls another."""

    def make(*arguments, **named):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN003, ANN202  as above
        global making, depth  # noqa: PLW0603
        started, depth = time.process_time(), depth + 1
        try:
            return original(*arguments, **named)
        finally:
            depth -= 1
            if not depth:
                making += time.process_time() - started

    return make


place, _, makers = clients.partition(":")
module = __import__(place, fromlist=["*"])
for maker in makers.split(","):
    setattr(module, maker, timed(getattr(module, maker)))  # type: ignore[no-untyped-call]  # as above
function = __import__(name, fromlist=["handler"])
imported = time.process_time()
made_at_import = making


class Context:
    """Lambda's context, with enough time left."""

    function_name = "function"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:function"
    aws_request_id = "run"

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds left."""
        return 900_000


import json  # noqa: E402  every handler has imported it

with open(event_file) as file:  # noqa: PTH123  pathlib is an import
    event = json.load(file)
answer = function.handler(event, Context())
answered = time.process_time()

modules = len(sys.modules)
with open("/proc/self/status") as file:  # noqa: PTH123  as above
    (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM"))
told = {
    "answer": answer,
    "imports_ms": (imported - bare - made_at_import) * 1_000,
    "clients_ms": making * 1_000,
    "first_call_ms": (answered - imported - (making - made_at_import)) * 1_000,
    "total_ms": (answered - bare) * 1_000,
    "modules": modules,
    "peak_mb": int(peak) / 1_024,
}
with open(answer_file, "w") as file:  # noqa: PTH123  as above
    json.dump(told, file)
