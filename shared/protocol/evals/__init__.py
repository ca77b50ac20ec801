"""The wire types of the evaluation API, one module per thing that is spoken of.

An eval says what is measured, a run is one execution of it, an item is one review of a run, and
results are what statistics say of all of them. Shapes and bounds only.
"""
