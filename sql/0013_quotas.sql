-- How often somebody did something lately. `used` holds no more times than there may be; the row is locked while one is
-- added, so that no two processes give the last one away twice.
CREATE TABLE quotas (
    what         text COLLATE "C" NOT NULL,
    whose        text COLLATE "C" NOT NULL,
    used         timestamptz[] NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (what, whose)
);
CREATE INDEX quotas_last_used_idx ON quotas (last_used_at);
