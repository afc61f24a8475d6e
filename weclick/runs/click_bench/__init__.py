"""`weclick click-bench`: which click next, simulated with masks that answer in a person's place.

It is a simulation: the backbone is frozen, and a small head is trained anew each round. It says how ways to
choose clicks compare, and not what a whole training of the student reaches.
"""
