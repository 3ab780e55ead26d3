"""`pipeline verify`: a deployed pipeline is tried end to end, and left as it was.

checks.py      the lines of the table, and the checks of every variant: subscriptions, alarms, dead letters, the queue
api.py csv.py iot.py  one probe each: what it sends, what must come of it, and how it is removed
samples.py     an event, a file and a reading that fit a stack's config
removal.py     remove the probe's own items, objects and dead letters
"""
