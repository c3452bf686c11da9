-- What may be presented once: nonces of SCEP messages, and challenges that are good for one request. `used_for` is what
-- it was presented with first, by which a repetition is told from a replay.
CREATE TABLE presented (
    realm        text COLLATE "C" NOT NULL,
    value        bytea NOT NULL,
    used_for     bytea NOT NULL,
    presented_at timestamptz NOT NULL,
    until        timestamptz NOT NULL,
    PRIMARY KEY (realm, value)
);
CREATE INDEX presented_until_idx ON presented (until);
