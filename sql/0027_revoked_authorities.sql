-- The certificate of a CA of ours is revoked by the CA above it, on whose CRL it then is; it is no managed certificate.
ALTER TABLE certificate_authorities ADD COLUMN revoked_at timestamptz;
ALTER TABLE certificate_revocations ALTER COLUMN certificate_id DROP NOT NULL;
