"""What relying parties ask without credentials: CRLs, OCSP, CA certificates. Each file gives rows of the table."""
