"""The Lua scripts that change evals and runs: each checks and writes in one step.

A run's scripts take its hash as KEYS[1] and the set of open runs as KEYS[2]; its parts are named
as `shared.registry.keys` does it. They return a list that begins with a word.
"""
