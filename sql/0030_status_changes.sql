-- Of each certificate, the CA that signed it, by its key identifier in hexadecimal: an issuer may have had several.
-- Empty for certificates of before, and for imported ones.
ALTER TABLE certificate_versions ADD COLUMN authority text COLLATE "C" NOT NULL DEFAULT '';

-- What OCSP answers are made from: the serial numbers of an issuer that have not expired.
CREATE INDEX certificate_versions_unexpired_idx ON certificate_versions (issuer_id, not_after)
    INCLUDE (serial_number, authority) WHERE NOT is_foreign;

-- Serial numbers whose status has changed, for whoever keeps answers about them. They are numbered in the order in which
-- the changes were committed: the number is drawn as the last thing of a transaction, under a lock that is held until
-- others see it. So who has read up to a number has missed none below it.
CREATE TABLE status_changes (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer_id     identifier NOT NULL,
    serial_number text COLLATE "C" NOT NULL,
    changed_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX status_changes_changed_idx ON status_changes (changed_at);

CREATE FUNCTION note_status_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed certificate_revocations := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('status_changes'));
    INSERT INTO status_changes (issuer_id, serial_number) VALUES (changed.issuer_id, changed.serial_number);
    RETURN NULL;
END;
$$;
CREATE CONSTRAINT TRIGGER certificate_revocations_entered AFTER INSERT OR DELETE ON certificate_revocations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_status_change();
CREATE CONSTRAINT TRIGGER certificate_revocations_changed AFTER UPDATE ON certificate_revocations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (
        OLD.revoked_at IS DISTINCT FROM NEW.revoked_at OR OLD.reason IS DISTINCT FROM NEW.reason
        OR OLD.released_at IS DISTINCT FROM NEW.released_at
    )
    EXECUTE FUNCTION note_status_change();
