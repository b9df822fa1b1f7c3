"""The bodies of the commands.

The body of a command is the function `main(args)` of its file. It gets the arguments that the file of the same name in
`tokenseg_cli/arguments` has parsed, and returns the exit code, or None for success. Files without `main` hold parts of
a command, or what several commands need.
"""
