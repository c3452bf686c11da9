-- Certificates that a CA of ours gives to the control plane's own services, with their keys, sealed: OCSP responders
-- (RFC 6960 section 4.2.2.2) and the registration authorities of SCEP (RFC 8894 section 2.1.2). `authority` is the
-- subjectKeyIdentifier of the CA that signed it, in hexadecimal. Of one kind there is one row for each generation.
CREATE TABLE delegates (
    id            identifier PRIMARY KEY,
    issuer_id     identifier NOT NULL REFERENCES issuers (id) ON DELETE CASCADE,
    authority     text COLLATE "C" NOT NULL,
    purpose       text COLLATE "C" NOT NULL CHECK (purpose IN ('ocsp', 'ra')),
    label         text COLLATE "C" NOT NULL DEFAULT '',
    generation    integer NOT NULL CHECK (generation > 0),
    serial_number text COLLATE "C" NOT NULL CHECK (serial_number ~ '^[1-9a-f][0-9a-f]*$'),
    chain_der     bytea[] NOT NULL,
    sealed_key    bytea NOT NULL,
    not_before    timestamptz NOT NULL,
    not_after     timestamptz NOT NULL,
    renew_at      timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX delegates_generation_key ON delegates (issuer_id, authority, purpose, label, generation);
CREATE UNIQUE INDEX delegates_serial_key ON delegates (issuer_id, serial_number);
CREATE INDEX delegates_renew_idx ON delegates (renew_at, id) WHERE renew_at IS NOT NULL;
CREATE INDEX delegates_end_idx ON delegates (not_after, id);

-- Never filled: a responder is a delegate, and answers are kept by the processes that give them.
DROP TABLE ocsp_responders;
DROP TABLE ocsp_response_cache;
