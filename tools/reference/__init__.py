"""Plain renderings of the papers' equations: what the package must equal, and what its speed is measured against.

Each takes the weights of ours, and nothing else of it.
"""
