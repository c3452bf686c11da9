-- What operators configure: teams, owners, profiles, renewal policies, agents, issuers, targets.
--
-- Conventions of every migration:
--   * Ids are opaque text. Ids and everything that is sorted by compare by code point (COLLATE "C"), so that pages by key
--     mean the same on every server, whatever its locale.
--   * Durations are intervals: the unit is in the type, not in a column's name.
--   * `revision` is raised by every write of a whole row (optimistic locking).
--   * Enumerations are text with a CHECK: the words are those of the API, and a new one is one statement.
--   * References are RESTRICT unless something else is said: nothing disappears because something else did.

CREATE DOMAIN identifier AS text COLLATE "C" CHECK (VALUE <> '');

CREATE TABLE teams (
    id          identifier PRIMARY KEY,
    name        text COLLATE "C" NOT NULL CONSTRAINT teams_name_key UNIQUE,
    description text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    revision    bigint NOT NULL DEFAULT 1
);

-- An owner may be without a team; deleting a team never deletes owners.
CREATE TABLE owners (
    id         identifier PRIMARY KEY,
    name       text COLLATE "C" NOT NULL,
    email      text COLLATE "C" NOT NULL DEFAULT '',
    team_id    identifier REFERENCES teams (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision   bigint NOT NULL DEFAULT 1
);
CREATE INDEX owners_team_id_idx ON owners (team_id);

-- `max_ttl` NULL is no cap.
CREATE TABLE certificate_profiles (
    id                      identifier PRIMARY KEY,
    name                    text COLLATE "C" NOT NULL CONSTRAINT certificate_profiles_name_key UNIQUE,
    description             text NOT NULL DEFAULT '',
    allowed_key_algorithms  jsonb NOT NULL
        DEFAULT '[{"algorithm": "ECDSA", "min_size": 256}, {"algorithm": "RSA", "min_size": 2048}]',
    max_ttl                 interval CHECK (max_ttl > interval '0'),
    allowed_ekus            text[] NOT NULL DEFAULT '{serverAuth}',
    required_san_patterns   text[] NOT NULL DEFAULT '{}',
    spiffe_uri_pattern      text NOT NULL DEFAULT '',
    allow_short_lived       boolean NOT NULL DEFAULT false,
    must_staple             boolean NOT NULL DEFAULT false,
    requires_approval       boolean NOT NULL DEFAULT false,
    required_csr_attributes text[] NOT NULL DEFAULT '{}',
    acme_auth_mode          text NOT NULL DEFAULT '',
    enabled                 boolean NOT NULL DEFAULT true,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now(),
    revision                bigint NOT NULL DEFAULT 1
);

CREATE TABLE agent_groups (
    id                 identifier PRIMARY KEY,
    name               text COLLATE "C" NOT NULL CONSTRAINT agent_groups_name_key UNIQUE,
    description        text NOT NULL DEFAULT '',
    match_os           text NOT NULL DEFAULT '',
    match_architecture text NOT NULL DEFAULT '',
    match_ip_cidr      text NOT NULL DEFAULT '',
    match_version      text NOT NULL DEFAULT '',
    enabled            boolean NOT NULL DEFAULT true,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    revision           bigint NOT NULL DEFAULT 1
);

-- `renewal_window` NULL is the last third of a certificate's life. A profile in use cannot be deleted, here or on
-- certificates: losing the reference would silently lift the limits it stands for.
CREATE TABLE renewal_policies (
    id                     identifier PRIMARY KEY,
    name                   text COLLATE "C" NOT NULL CONSTRAINT renewal_policies_name_key UNIQUE,
    renewal_window         interval CHECK (renewal_window > interval '0'),
    auto_renew             boolean NOT NULL DEFAULT true,
    max_retries            integer NOT NULL DEFAULT 3 CHECK (max_retries >= 0),
    retry_interval         interval NOT NULL DEFAULT interval '1 hour',
    alert_thresholds_days  integer[] NOT NULL DEFAULT '{30,14,7,0}',
    alert_channels         jsonb NOT NULL DEFAULT '{}',
    alert_severity_map     jsonb NOT NULL DEFAULT '{}',
    certificate_profile_id identifier REFERENCES certificate_profiles (id),
    agent_group_id         identifier REFERENCES agent_groups (id) ON DELETE SET NULL,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    revision               bigint NOT NULL DEFAULT 1
);
CREATE INDEX renewal_policies_profile_idx ON renewal_policies (certificate_profile_id);

INSERT INTO renewal_policies (id, name, created_at, updated_at)
VALUES ('rp-default', 'Default', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');

-- No key hash here: what an agent shows is a row of api_keys like everybody's. A retired agent gives its name back, so
-- that its host can join again.
CREATE TABLE agents (
    id                identifier PRIMARY KEY,
    name              text COLLATE "C" NOT NULL,
    hostname          text COLLATE "C" NOT NULL,
    status            text COLLATE "C" NOT NULL DEFAULT 'Online' CHECK (status IN ('Online', 'Offline', 'Degraded')),
    os                text COLLATE "C" NOT NULL DEFAULT '',
    architecture      text COLLATE "C" NOT NULL DEFAULT '',
    ip_address        text COLLATE "C" NOT NULL DEFAULT '',
    version           text COLLATE "C" NOT NULL DEFAULT '',
    clock_offset      interval,
    last_heartbeat_at timestamptz,
    registered_at     timestamptz NOT NULL DEFAULT now(),
    retired_at        timestamptz,
    retired_reason    text NOT NULL DEFAULT '',
    revision          bigint NOT NULL DEFAULT 1
)
-- Heartbeats rewrite rows all the time; room in the page lets them stay there.
WITH (fillfactor = 70);
CREATE UNIQUE INDEX agents_name_key ON agents (name) WHERE retired_at IS NULL;
CREATE INDEX agents_heard_idx ON agents (last_heartbeat_at, id) WHERE status <> 'Offline' AND retired_at IS NULL;
CREATE INDEX agents_registered_idx ON agents (registered_at, id);

-- The parts of the control plane that find certificates by themselves. They send no heartbeats and cannot retire.
INSERT INTO agents (id, name, hostname, registered_at)
SELECT name, name, 'control-plane', '2026-01-01T00:00:00Z'
FROM unnest(ARRAY['server-scanner', 'cloud-aws-sm', 'cloud-azure-kv', 'cloud-gcp-sm']) AS name;

CREATE TABLE agent_group_members (
    agent_group_id  identifier NOT NULL REFERENCES agent_groups (id) ON DELETE CASCADE,
    agent_id        identifier NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    membership_type text NOT NULL DEFAULT 'include' CHECK (membership_type IN ('include', 'exclude')),
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (agent_group_id, agent_id)
);
CREATE INDEX agent_group_members_agent_idx ON agent_group_members (agent_id);

-- Heartbeats and polls, counted rather than written down one by one.
CREATE TABLE agent_activity (
    agent_id   identifier NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    hour       timestamptz NOT NULL,
    heartbeats integer NOT NULL DEFAULT 0,
    polls      integer NOT NULL DEFAULT 0,
    PRIMARY KEY (agent_id, hour)
);
CREATE INDEX agent_activity_hour_idx ON agent_activity (hour);

-- `config` is what the API shows, secrets masked; `encrypted_config` is all of it, sealed.
CREATE TABLE issuers (
    id               identifier PRIMARY KEY,
    name             text COLLATE "C" NOT NULL CONSTRAINT issuers_name_key UNIQUE,
    type             text COLLATE "C" NOT NULL,
    config           jsonb NOT NULL DEFAULT '{}',
    encrypted_config bytea,
    enabled          boolean NOT NULL DEFAULT true,
    source           text NOT NULL DEFAULT 'database' CHECK (source IN ('database', 'env')),
    test_status      text NOT NULL DEFAULT 'untested' CHECK (test_status IN ('untested', 'success', 'failed')),
    last_tested_at   timestamptz,
    hierarchy_mode   text NOT NULL DEFAULT 'single' CHECK (hierarchy_mode IN ('single', 'tree')),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    revision         bigint NOT NULL DEFAULT 1
);

CREATE TABLE deployment_targets (
    id               identifier PRIMARY KEY,
    name             text COLLATE "C" NOT NULL,
    type             text COLLATE "C" NOT NULL,
    agent_id         identifier NOT NULL REFERENCES agents (id),
    config           jsonb NOT NULL DEFAULT '{}',
    encrypted_config bytea,
    enabled          boolean NOT NULL DEFAULT true,
    source           text NOT NULL DEFAULT 'database' CHECK (source IN ('database', 'env')),
    test_status      text NOT NULL DEFAULT 'untested' CHECK (test_status IN ('untested', 'success', 'failed')),
    last_tested_at   timestamptz,
    retired_at       timestamptz,
    retired_reason   text NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    revision         bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX deployment_targets_agent_id_name_key ON deployment_targets (agent_id, name) WHERE retired_at IS NULL;
CREATE INDEX deployment_targets_agent_idx ON deployment_targets (agent_id);
CREATE INDEX deployment_targets_created_idx ON deployment_targets (created_at, id);
CREATE INDEX deployment_targets_name_idx ON deployment_targets (name, id);
