"""The entry point of the `pipeline` command, which also ends quietly on Ctrl-C while it is still being imported."""

import sys


def main() -> None:
    """Run the command."""
    try:
        from cli.main import app  # noqa: PLC0415  Ctrl-C during this import is caught here

        app()
    except KeyboardInterrupt:
        # The exit code of shells for a program ended by Ctrl-C.
        sys.exit(130)
    except OSError as error:
        # Help goes to a disk that is full, for instance: no command has begun that could say it.
        sys.exit(f"error: {error.strerror or error}")


if __name__ == "__main__":
    main()
