-- The loop and monitoring ask often how many there are.
CREATE INDEX crl_scopes_failing_idx ON crl_scopes (issuer_id) WHERE failures > 0;
CREATE INDEX crls_next_update_idx ON crls (next_update);
