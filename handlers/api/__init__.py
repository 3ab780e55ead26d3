"""The api variant: events over HTTP, a queue, the worker that runs the user's function."""
