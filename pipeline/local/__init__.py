"""A run on this machine: preparation, workdir, terminal, components."""
