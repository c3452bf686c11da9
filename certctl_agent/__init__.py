"""The agent: a process beside the servers it serves. It makes their private keys, which never leave the machine, has
them certified by the control plane, puts the certificates in place, and looks at what is served.
"""
