-- A root and the one before it certify one another, for whoever knows but one of them (RFC 4210 section 4.4).
ALTER TABLE certificate_authorities ADD COLUMN links_der bytea[] NOT NULL DEFAULT '{}';
