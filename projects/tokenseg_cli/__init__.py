"""The command line of TokenSeg: the arguments and help texts of all commands, and one-line error messages.

Nothing here imports torch, Detectron2 or tokenseg, so `--help` and the error of a mistyped flag appear immediately.
Each file of `arguments` belongs to one command. The body of the command is the file of the same name in
`tokenseg/commands`, which `run` imports after it has parsed the arguments.
"""
