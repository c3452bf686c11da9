-- Policy rules as they are judged: whom they are about, when a certificate has to be looked at again, what is open.

-- When time alone may change what the rules say of a certificate.
ALTER TABLE managed_certificates ADD COLUMN next_policy_check_at timestamptz;
CREATE INDEX managed_certificates_policy_check_idx ON managed_certificates (next_policy_check_at, id)
    WHERE next_policy_check_at IS NOT NULL;

-- Whom a rule is about; an empty list does not limit. The ids are kept in the row, in the operator's order; the tables
-- that follow keep what they refer to from disappearing, which would make the rule be about everything.
ALTER TABLE policy_rules
    ADD COLUMN team_ids        text[] NOT NULL DEFAULT '{}',
    ADD COLUMN environments    text[] NOT NULL DEFAULT '{}',
    ADD COLUMN agent_group_ids text[] NOT NULL DEFAULT '{}';
CREATE TABLE policy_rule_teams (
    rule_id identifier NOT NULL REFERENCES policy_rules (id) ON DELETE CASCADE,
    team_id identifier NOT NULL REFERENCES teams (id),
    PRIMARY KEY (rule_id, team_id)
);
CREATE INDEX policy_rule_teams_team_idx ON policy_rule_teams (team_id);
CREATE TABLE policy_rule_agent_groups (
    rule_id        identifier NOT NULL REFERENCES policy_rules (id) ON DELETE CASCADE,
    agent_group_id identifier NOT NULL REFERENCES agent_groups (id),
    PRIMARY KEY (rule_id, agent_group_id)
);
CREATE INDEX policy_rule_agent_groups_group_idx ON policy_rule_agent_groups (agent_group_id);

CREATE FUNCTION follow_policy_scope() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM policy_rule_teams WHERE rule_id = NEW.id AND team_id <> ALL (NEW.team_ids);
    DELETE FROM policy_rule_agent_groups WHERE rule_id = NEW.id AND agent_group_id <> ALL (NEW.agent_group_ids);
    INSERT INTO policy_rule_teams (rule_id, team_id)
    SELECT NEW.id, team_id FROM unnest(NEW.team_ids) AS team_id ON CONFLICT DO NOTHING;
    INSERT INTO policy_rule_agent_groups (rule_id, agent_group_id)
    SELECT NEW.id, agent_group_id FROM unnest(NEW.agent_group_ids) AS agent_group_id ON CONFLICT DO NOTHING;
    RETURN NULL;
END;
$$;
CREATE TRIGGER policy_rules_scope AFTER INSERT OR UPDATE OF team_ids, agent_group_ids ON policy_rules
    FOR EACH ROW EXECUTE FUNCTION follow_policy_scope();

-- Who judges shares a lock that excludes whoever changes what is judged by. Each statement of a volatile function sees
-- what was committed before the statement, so the rules that are read are those of after the wait.
CREATE FUNCTION policy_rules_in_force() RETURNS SETOF policy_rules LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('certctl/policy rules', 0));
    RETURN QUERY SELECT * FROM policy_rules WHERE enabled;
END;
$$;
CREATE FUNCTION hold_policy_rules() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('certctl/policy rules', 0));
END;
$$;

-- Violations open and close. A rule may be gone long before the last of its violations is closed, and they are kept as
-- history: nothing refers to the rule's row.
ALTER TABLE policy_violations DROP CONSTRAINT policy_violations_rule_id_fkey;
ALTER TABLE policy_violations RENAME COLUMN created_at TO opened_at;
ALTER TABLE policy_violations
    ADD COLUMN resolved_at timestamptz,
    ADD COLUMN revision    bigint NOT NULL DEFAULT 1;
CREATE UNIQUE INDEX policy_violations_open_key ON policy_violations (certificate_id, rule_id) WHERE resolved_at IS NULL;
CREATE INDEX policy_violations_open_of_rule_idx ON policy_violations (rule_id, id) WHERE resolved_at IS NULL;
CREATE INDEX policy_violations_open_idx ON policy_violations (opened_at, id) WHERE resolved_at IS NULL;
CREATE INDEX policy_violations_opened_idx ON policy_violations (opened_at, id);
CREATE INDEX policy_violations_resolved_idx ON policy_violations (resolved_at) WHERE resolved_at IS NOT NULL;

-- What has to be looked at again because a rule, a group or an agent changed, and how far that has come.
CREATE TABLE policy_reviews (
    kind         text COLLATE "C" NOT NULL CHECK (kind IN ('scope', 'open', 'agent')),
    subject_id   identifier NOT NULL,
    after_id     text COLLATE "C" NOT NULL DEFAULT '',
    requested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, subject_id)
);
CREATE INDEX policy_reviews_requested_idx ON policy_reviews (requested_at, kind, subject_id);
