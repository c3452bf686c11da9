-- Credentials. Keys, tokens and cookies are random; only their SHA-256 (lower-case hex) is kept.

CREATE TABLE api_keys (
    id           identifier PRIMARY KEY,
    name         text COLLATE "C" NOT NULL,
    key_hash     text COLLATE "C" NOT NULL CONSTRAINT api_keys_key_hash_key UNIQUE,
    role         text COLLATE "C" NOT NULL CHECK (role IN ('admin', 'operator', 'viewer', 'auditor', 'agent')),
    agent_id     identifier REFERENCES agents (id) ON DELETE CASCADE,
    created_by   text COLLATE "C" NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    revision     bigint NOT NULL DEFAULT 1,
    CONSTRAINT api_keys_agent_id_check CHECK ((role = 'agent') = (agent_id IS NOT NULL))
)
WITH (fillfactor = 80);
CREATE INDEX api_keys_agent_idx ON api_keys (agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX api_keys_created_idx ON api_keys (created_at, id);
CREATE INDEX api_keys_people_idx ON api_keys (id) WHERE role <> 'agent';

CREATE TABLE join_tokens (
    id         identifier PRIMARY KEY,
    token_hash text COLLATE "C" NOT NULL CONSTRAINT join_tokens_token_hash_key UNIQUE,
    agent_name text COLLATE "C" NOT NULL DEFAULT '',
    created_by text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    used_by    identifier REFERENCES agents (id) ON DELETE CASCADE,
    revision   bigint NOT NULL DEFAULT 1
);
CREATE INDEX join_tokens_expires_idx ON join_tokens (expires_at, id);
CREATE INDEX join_tokens_used_by_idx ON join_tokens (used_by) WHERE used_by IS NOT NULL;

CREATE TABLE sessions (
    id_hash    text COLLATE "C" PRIMARY KEY,
    api_key_id identifier NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    csrf_token text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_expires_idx ON sessions (expires_at);
CREATE INDEX sessions_api_key_idx ON sessions (api_key_id);

-- CA keys, sealed, so that every restart and replica signs with the same CA. `issuer_id` is NULL for the CA of the
-- control plane itself. `chain_der` is the CA certificate and what is above it, nearest first.
CREATE TABLE certificate_authorities (
    id         identifier PRIMARY KEY,
    issuer_id  identifier REFERENCES issuers (id) ON DELETE CASCADE,
    chain_der  bytea[] NOT NULL,
    sealed_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX certificate_authorities_issuer_idx ON certificate_authorities (issuer_id);
