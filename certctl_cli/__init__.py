"""The command line: `certctl` asks the control plane what people ask, and prints the answer as a table or as JSON.

Nothing of weight is imported before it is needed, so that `certctl --help` answers at once.
"""
