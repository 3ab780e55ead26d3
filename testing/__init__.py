"""Helpers for tests of processors and stacks, and pytest fixtures of them in testing/fixtures.py: docs/testing.md.

def test_an_order_is_charged(memory_pipeline):
    assert memory_pipeline("shop").send({"amount": 10}).result == {"total": 11.9}
"""
