"""A seeded campaign against the pipeline: real runs that are killed, damaged, moved and questioned.

    python -m tests.campaign [--minutes 20] [--seed 1]

Nothing that it compares with comes from ML Metadata: its notes hold what it told each run and what
then lay in the folders.
"""
