"""`pipeline erase`: everything that a stack keeps of an event, of a device, or of an uploaded file.

A plan lists the places and what is there; the items that lead to the other places come last, so that a command that was
interrupted can be repeated. `run.py` records who erased, and makes the plan again to see that nothing is left.
"""
