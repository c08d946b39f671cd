"""``imd bench``: what a message costs, how long it takes, and whether any was lost.

A run whose messages were not all acknowledged, received once and in order, and covered by
a receipt has no figure.
"""
