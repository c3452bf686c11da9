-- What keys reach, and which teams issuers, targets and agents are limited to. An empty list does not limit.

ALTER TABLE api_keys
    ADD COLUMN team_ids     text[] NOT NULL DEFAULT '{}',
    ADD COLUMN environments text[] NOT NULL DEFAULT '{}';
ALTER TABLE issuers ADD COLUMN team_ids text[] NOT NULL DEFAULT '{}';
ALTER TABLE deployment_targets ADD COLUMN team_ids text[] NOT NULL DEFAULT '{}';
ALTER TABLE agents ADD COLUMN team_ids text[] NOT NULL DEFAULT '{}';
-- The teams of the agent that joins with it. They are looked up then: a token is forgotten sooner than a team.
ALTER TABLE join_tokens ADD COLUMN team_ids text[] NOT NULL DEFAULT '{}';

-- The ids are kept in the rows; this table follows them and keeps the teams from being deleted, which would leave a
-- limit that nobody can read. Rows that have ended, such as revoked keys, hold no team.
CREATE TABLE team_limits (
    holder    text COLLATE "C" NOT NULL,
    holder_id identifier NOT NULL,
    team_id   identifier NOT NULL REFERENCES teams (id),
    PRIMARY KEY (holder, holder_id, team_id)
);
CREATE INDEX team_limits_team_idx ON team_limits (team_id);

-- The argument names the column that says when a row has ended; empty: rows do not end.
CREATE FUNCTION follow_team_ids() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM team_limits WHERE holder = TG_TABLE_NAME AND holder_id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' AND to_jsonb(NEW) ->> TG_ARGV[0] IS NULL THEN
        INSERT INTO team_limits (holder, holder_id, team_id)
        SELECT DISTINCT TG_TABLE_NAME, NEW.id, team_id FROM unnest(NEW.team_ids) AS team_id;
    END IF;
    RETURN NULL;
END;
$$;
DO $$
DECLARE
    followed record;
BEGIN
    FOR followed IN
        SELECT * FROM (VALUES
            ('api_keys', 'revoked_at'), ('issuers', ''), ('deployment_targets', 'retired_at'), ('agents', 'retired_at')
        ) AS pairs (name, ended)
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I AFTER INSERT ON %I FOR EACH ROW WHEN (NEW.team_ids <> ''{}'')
             EXECUTE FUNCTION follow_team_ids(%L)',
            followed.name || '_limits_of_new', followed.name, followed.ended
        );
        EXECUTE format(
            'CREATE TRIGGER %I AFTER UPDATE ON %I FOR EACH ROW WHEN (OLD.team_ids IS DISTINCT FROM NEW.team_ids %s)
             EXECUTE FUNCTION follow_team_ids(%L)',
            followed.name || '_limits_of_changed', followed.name,
            CASE followed.ended
                WHEN '' THEN ''
                ELSE format(
                    'OR (OLD.team_ids <> ''{}'' AND OLD.%1$I IS DISTINCT FROM NEW.%1$I)', followed.ended
                )
            END,
            followed.ended
        );
        EXECUTE format(
            'CREATE TRIGGER %I AFTER DELETE ON %I FOR EACH ROW WHEN (OLD.team_ids <> ''{}'')
             EXECUTE FUNCTION follow_team_ids(%L)',
            followed.name || '_limits_of_gone', followed.name, followed.ended
        );
    END LOOP;
END;
$$;
