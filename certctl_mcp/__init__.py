"""The MCP server: offers the operations of a control plane as tools to a language model, over stdio.

    python -m certctl_mcp [--read-only]

What the tools are is read off the control plane's own OpenAPI document, so they are those that it has. This package
needs the extra `mcp`, which is large and slow to import: no other program imports it.
"""
