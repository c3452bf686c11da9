-- An issuer may have several CAs: generations of one that follow one another, and a tree of them. A CA whose certificate
-- a foreign CA signs has a CSR until it is there. Keys are here, sealed, or with a driver that has them by name.
ALTER TABLE certificate_authorities
    ADD COLUMN parent_id          identifier REFERENCES certificate_authorities (id) ON DELETE SET NULL,
    ADD COLUMN name               text COLLATE "C",
    ADD COLUMN subject            text NOT NULL DEFAULT '',
    ADD COLUMN state              text COLLATE "C" NOT NULL DEFAULT 'active'
        CHECK (state IN ('pending', 'active', 'retiring', 'retired')),
    ADD COLUMN csr_der            bytea,
    ADD COLUMN key_driver_id      text COLLATE "C" NOT NULL DEFAULT 'sealed',
    ADD COLUMN signs_from         timestamptz,
    ADD COLUMN retiring_since     timestamptz,
    ADD COLUMN drains_at          timestamptz,
    ADD COLUMN ocsp_responder_url text NOT NULL DEFAULT '',
    ADD COLUMN metadata           jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN note               text NOT NULL DEFAULT '',
    ADD COLUMN updated_at         timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN revision           bigint NOT NULL DEFAULT 1,
    ALTER COLUMN sealed_key DROP NOT NULL;
UPDATE certificate_authorities SET name = id, signs_from = created_at, updated_at = created_at;
ALTER TABLE certificate_authorities
    ALTER COLUMN name SET NOT NULL,
    ADD CONSTRAINT certificate_authorities_key_check CHECK ((key_driver_id = 'sealed') = (sealed_key IS NOT NULL)),
    ADD CONSTRAINT certificate_authorities_chain_check CHECK (state IN ('pending', 'retired') OR chain_der <> '{}');
CREATE UNIQUE INDEX certificate_authorities_name_key ON certificate_authorities ((coalesce(issuer_id, '')), name);
CREATE INDEX certificate_authorities_parent_idx ON certificate_authorities (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX certificate_authorities_drain_idx ON certificate_authorities (drains_at, id) WHERE state = 'retiring';

-- Never filled: CAs of every sort are rows of one table.
DROP TABLE intermediate_cas;
