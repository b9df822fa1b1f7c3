"""A file for every command: its docstring is what `--help` describes, and `parse(parser, words)` reads the arguments.

`parse` gets a parser that has the description, adds the command's arguments to it and parses the words. It raises
ValueError for values that cannot work, and leaves alone whatever needs a config, a file or a device to judge.
"""
