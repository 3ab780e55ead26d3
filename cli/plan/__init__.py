"""`pipeline plan`: what a stack does at a rate of events, what breaks first, and what to change in its config.

`limits` is the table of AWS's limits; `bounds` says how many events a second each of them takes in a stack; `queueing`
simulates the queue and its worker; `advice` finds the config that holds; `command` shows all of it.
"""
