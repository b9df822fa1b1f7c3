"""What the commands do.

Each file has `main(args)`, which takes the arguments that the file of the same name in
`tokenseg_cli/arguments` reads, and returns the exit code or None.

`checkout.py` is no command: it says where the others find configs and scripts.
"""
