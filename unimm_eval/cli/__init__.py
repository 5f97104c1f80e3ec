"""The two programs: `unimm-eval` (main) and `unimm-train` (train).

Everything heavy is imported inside the command that needs it, so that `--help` and the lists are
instant.
"""
