"""Bytes <-> meaning: keys, CSRs, certificates, CRLs and OCSP messages."""
