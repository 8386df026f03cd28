"""Long runs that hurt a node again and again and count what suffers: `./dev soak`.

Each run has a module that makes a lab of its own, and a function on a given cluster that the tests call with
small sizes. Nothing here is timed but as a figure to look at: a run fails by what it finds, not by how long
it takes.
"""
