"""The arguments of every command, one file each. The docstring of a file is the description in the command's `--help`.

`parse(parser, words)` gets a parser with this description, adds the command's arguments, and parses the words. It
raises a ValueError for invalid values, unless a config, a file or a device is needed to decide.
"""
