"""Broken data sets, made at random from a seed: they end in examples or in reasons.

make fuzz SEED=1 CASES=1000
"""
