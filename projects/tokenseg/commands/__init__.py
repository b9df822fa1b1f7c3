"""What the commands do.

Each file has `main(args)`, which takes the arguments that the file of the same name in
`tokenseg_cli/arguments` reads, and returns the exit code or None.

`train_process.py` is no command: it says how the others start a training.
"""
