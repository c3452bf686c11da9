-- A review begins when everybody has ended who may have judged by what was before the change: who changes a rule then
-- waits for nobody.
ALTER TABLE policy_reviews ADD COLUMN begun boolean NOT NULL DEFAULT false;
DROP INDEX policy_reviews_requested_idx;
CREATE INDEX policy_reviews_begun_idx ON policy_reviews (requested_at, kind, subject_id) WHERE begun;
CREATE INDEX policy_reviews_waiting_idx ON policy_reviews (kind, subject_id) WHERE NOT begun;
