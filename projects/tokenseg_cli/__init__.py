"""The commands of TokenSeg as their user meets them: arguments, help, and errors in one line.

Nothing here imports torch, Detectron2 or tokenseg, so that `--help` and a mistyped flag answer at once. Each file of
`arguments` belongs to one command; the body of the command is the file of the same name in `tokenseg/commands`, which
`run` imports once the arguments are read.
"""
