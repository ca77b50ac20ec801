"""`llmzoo eval`: evaluations from the command line."""
