"""The local runner's run: its workdir, its console, its loop."""
