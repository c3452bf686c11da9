"""The house's own rules, checked: who imports whom, names, docs in step, clean text."""
