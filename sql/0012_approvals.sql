-- Approvals: what is asked is pinned as text and cannot be changed, and why one is relied on no more is said.

-- `content` is canonical JSON: the text is what was hashed, so it is kept as text. `closed_reason` says why a request
-- has expired. The profile is named as it was: it may be gone long before its requests are.
ALTER TABLE issuance_approval_requests
    DROP CONSTRAINT issuance_approval_requests_profile_id_fkey,
    DROP COLUMN metadata,
    ADD COLUMN content          text NOT NULL,
    ADD COLUMN content_sha256   text COLLATE "C" NOT NULL
        CHECK (content_sha256 = encode(sha256(convert_to(content, 'UTF8')), 'hex')),
    ADD COLUMN requested_by_key identifier,
    ADD COLUMN ordered_by       text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN ordered_by_key   identifier,
    ADD COLUMN closed_reason    text NOT NULL DEFAULT '';
CREATE INDEX issuance_approval_requests_created_idx ON issuance_approval_requests (created_at, id);
CREATE INDEX issuance_approval_requests_requester_idx ON issuance_approval_requests (requested_by, created_at, id);

CREATE FUNCTION refuse_to_change_what_was_asked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what approval request % asks cannot be changed', OLD.id
        USING ERRCODE = 'insufficient_privilege', HINT = 'Expire it and ask anew.';
END;
$$;
CREATE TRIGGER issuance_approval_requests_are_pinned BEFORE UPDATE ON issuance_approval_requests FOR EACH ROW
    WHEN ((OLD.id, OLD.certificate_id, OLD.job_id, OLD.profile_id, OLD.content, OLD.content_sha256, OLD.requested_by,
           OLD.requested_by_key, OLD.ordered_by, OLD.ordered_by_key, OLD.created_at)
          IS DISTINCT FROM
          (NEW.id, NEW.certificate_id, NEW.job_id, NEW.profile_id, NEW.content, NEW.content_sha256, NEW.requested_by,
           NEW.requested_by_key, NEW.ordered_by, NEW.ordered_by_key, NEW.created_at))
    EXECUTE FUNCTION refuse_to_change_what_was_asked();
ALTER TABLE issuance_approval_requests ENABLE ALWAYS TRIGGER issuance_approval_requests_are_pinned;

-- No foreign key: a job and its request are made in one transaction and refer to one another.
ALTER TABLE jobs ADD COLUMN approval_id identifier;

-- Who last decided what is to be issued, and with which key: whoever it was cannot approve it.
ALTER TABLE managed_certificates
    ADD COLUMN ordered_by     text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN ordered_by_key identifier;

-- How long an approval is waited for counts from its request, which may be younger than its job.
DROP INDEX jobs_awaiting_approval_idx;
