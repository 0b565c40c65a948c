"""`make availability`: what is answered, and how rightly, while something is down.

Rows are faults, columns systems; each is asked without pause while its services change slowly.
"""
