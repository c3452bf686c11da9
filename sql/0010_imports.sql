-- Certificates that were issued elsewhere and are managed from now on.

ALTER TABLE managed_certificates
    DROP CONSTRAINT managed_certificates_source_check,
    ADD CONSTRAINT managed_certificates_source_check
        CHECK (source IN ('API', 'Agent', 'EST', 'SCEP', 'ACME', 'Import'));

-- An imported certificate that the CA of `issuer_id` did not issue is foreign: what tells it from others is its
-- fingerprint, and it takes no serial number away from that CA.
ALTER TABLE certificate_versions ADD COLUMN is_foreign boolean NOT NULL DEFAULT false;
DROP INDEX certificate_versions_serial_key;
CREATE UNIQUE INDEX certificate_versions_serial_key ON certificate_versions
    (issuer_id, serial_number, (CASE WHEN is_foreign THEN fingerprint_sha256 ELSE '' END));
