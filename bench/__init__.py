"""Benchmarks: each measures its subject and its floor in the same run, and reports ratios.

Machines are noisy, so absolute times are for orientation; the ratio to the floor is what is held to an aim.
"""
