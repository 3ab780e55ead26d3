"""The embedded local pipeline: the real Pulumi program, run in this process against an emulator on 127.0.0.1."""
