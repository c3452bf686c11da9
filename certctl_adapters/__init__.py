"""The world: one file per foreign thing, each answering a port of the core."""
