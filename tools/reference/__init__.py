"""Plain implementations of the papers' equations, with which tests compare the package's results and benchmarks its
speed.

They use the weights of the package's modules, and no code of the package.
"""
