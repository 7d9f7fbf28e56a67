-- audience: intent signals, the score they make, and what automation did about
-- them. How a score is made: audience/score.c. (A10, B9, B11)

CREATE TABLE entrestate.score_settings (
  tenant_id uuid NOT NULL REFERENCES entrestate.tenants,
  version integer NOT NULL CHECK (version > 0),
  score_window interval NOT NULL CHECK (score_window BETWEEN '1 hour' AND '366 days'),
  hot_threshold integer NOT NULL CHECK (hot_threshold BETWEEN 1 AND 1000000),
  warming_threshold integer NOT NULL CHECK (warming_threshold BETWEEN 1 AND hot_threshold),
  open integer NOT NULL CHECK (open BETWEEN 0 AND 1000),
  click integer NOT NULL CHECK (click BETWEEN 0 AND 1000),
  chat_message integer NOT NULL CHECK (chat_message BETWEEN 0 AND 1000),
  rapid_interaction integer NOT NULL CHECK (rapid_interaction BETWEEN 0 AND 1000),
  form_resubmission integer NOT NULL CHECK (form_resubmission BETWEEN 0 AND 1000),
  reply integer NOT NULL CHECK (reply BETWEEN 0 AND 1000),
  call_request integer NOT NULL CHECK (call_request BETWEEN 0 AND 1000),
  visit_request integer NOT NULL CHECK (visit_request BETWEEN 0 AND 1000),
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, version)
);
COMMENT ON TABLE entrestate.score_settings IS 'A tenant''s weights, window and thresholds, one row per version; version 0 are the defaults and has no row. (B9)';
COMMENT ON COLUMN entrestate.score_settings.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.score_settings.version IS 'Version, from 1; the highest holds.';
COMMENT ON COLUMN entrestate.score_settings.score_window IS 'How long a signal counts.';
COMMENT ON COLUMN entrestate.score_settings.hot_threshold IS 'Score at which a lead is hot.';
COMMENT ON COLUMN entrestate.score_settings.warming_threshold IS 'Score at which a lead is warming.';
COMMENT ON COLUMN entrestate.score_settings.open IS 'Points of an open, once per message.';
COMMENT ON COLUMN entrestate.score_settings.click IS 'Points of a click, once per message.';
COMMENT ON COLUMN entrestate.score_settings.chat_message IS 'Points of a chat message.';
COMMENT ON COLUMN entrestate.score_settings.rapid_interaction IS 'Points of three signals within ten minutes, once per burst.';
COMMENT ON COLUMN entrestate.score_settings.form_resubmission IS 'Points of a form that is sent again.';
COMMENT ON COLUMN entrestate.score_settings.reply IS 'Points of a reply.';
COMMENT ON COLUMN entrestate.score_settings.call_request IS 'Points of a request to be called.';
COMMENT ON COLUMN entrestate.score_settings.visit_request IS 'Points of a request for a visit.';
COMMENT ON COLUMN entrestate.score_settings.created_by IS 'Who set them.';
COMMENT ON COLUMN entrestate.score_settings.created_at IS 'When.';

CREATE TABLE entrestate.intent_signals (
  tenant_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  recorded_at timestamptz NOT NULL,
  signal_no integer NOT NULL,
  occurred_at timestamptz NOT NULL,
  campaign_id uuid,
  epoch smallint NOT NULL DEFAULT entrestate.event_epoch(),
  kind smallint NOT NULL,
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  score integer NOT NULL,
  settings_version integer NOT NULL,
  counted boolean NOT NULL,
  hot boolean NOT NULL,
  reference text COLLATE "C" CHECK (octet_length(reference) <= 255),
  PRIMARY KEY (tenant_id, lead_id, recorded_at, signal_no)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX intent_signals_consumer ON entrestate.intent_signals (epoch, txid);
COMMENT ON TABLE entrestate.intent_signals IS 'What leads did. Append-only; a lead''s score is a function of these. (B9, A10)';
COMMENT ON COLUMN entrestate.intent_signals.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.intent_signals.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.intent_signals.recorded_at IS 'When it was recorded; names the partition.';
COMMENT ON COLUMN entrestate.intent_signals.signal_no IS 'Number within the lead, gapless from 1.';
COMMENT ON COLUMN entrestate.intent_signals.occurred_at IS 'When the lead did it.';
COMMENT ON COLUMN entrestate.intent_signals.campaign_id IS 'Campaign it belongs to, if any.';
COMMENT ON COLUMN entrestate.intent_signals.epoch IS 'Epoch of txid.';
COMMENT ON COLUMN entrestate.intent_signals.kind IS 'Code of signal_kinds().';
COMMENT ON COLUMN entrestate.intent_signals.txid IS 'Transaction that wrote it, for consumers.';
COMMENT ON COLUMN entrestate.intent_signals.score IS 'The lead''s score after it.';
COMMENT ON COLUMN entrestate.intent_signals.settings_version IS 'Version of score_settings that the score was made with.';
COMMENT ON COLUMN entrestate.intent_signals.counted IS 'Whether it counts: not a machine''s, and not the same message''s open or click once more.';
COMMENT ON COLUMN entrestate.intent_signals.hot IS 'Whether it made the lead hot.';
COMMENT ON COLUMN entrestate.intent_signals.reference IS 'The message, chat or form it belongs to; opens and clicks count once per reference.';

CREATE TABLE entrestate.lead_scores (
  tenant_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  score integer NOT NULL,
  score_at timestamptz NOT NULL,
  settings_version integer NOT NULL,
  last_signal_at timestamptz,
  expires_at timestamptz,
  signal_count integer NOT NULL,
  count_before integer NOT NULL DEFAULT 0,
  counted_kinds smallint[] NOT NULL,
  counted_at timestamptz[] NOT NULL,
  seen bigint[] NOT NULL,
  merged_into uuid,
  PRIMARY KEY (tenant_id, lead_id)
) WITH (fillfactor = 70);
CREATE INDEX lead_scores_expiry ON entrestate.lead_scores (tenant_id, expires_at) WHERE expires_at IS NOT NULL;
COMMENT ON TABLE entrestate.lead_scores IS 'The score of each lead that ever gave a signal, and what it is made of; derived from intent_signals. (B9)';
COMMENT ON COLUMN entrestate.lead_scores.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.lead_scores.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.lead_scores.score IS 'Weighted sum of the signals that count at score_at.';
COMMENT ON COLUMN entrestate.lead_scores.score_at IS 'Instant of the score.';
COMMENT ON COLUMN entrestate.lead_scores.settings_version IS 'Version of score_settings that it was made with.';
COMMENT ON COLUMN entrestate.lead_scores.last_signal_at IS 'When the newest signal that counts occurred.';
COMMENT ON COLUMN entrestate.lead_scores.expires_at IS 'When the oldest signal leaves the window and the score falls; NULL: nothing counts.';
COMMENT ON COLUMN entrestate.lead_scores.signal_count IS 'Number of the lead''s last signal.';
COMMENT ON COLUMN entrestate.lead_scores.count_before IS 'signal_count before the last batch: the version of the row that the batch had read.';
COMMENT ON COLUMN entrestate.lead_scores.counted_kinds IS 'Kinds of the signals within the window, in order of time.';
COMMENT ON COLUMN entrestate.lead_scores.counted_at IS 'Their times.';
COMMENT ON COLUMN entrestate.lead_scores.seen IS 'Hashes of the references that have counted: a message''s open and click count once.';
COMMENT ON COLUMN entrestate.lead_scores.merged_into IS 'Lead that has the signals since a merge.';

CREATE TABLE entrestate.audience_actions (
  tenant_id uuid NOT NULL,
  recorded_at timestamptz NOT NULL,
  id uuid NOT NULL,
  type text NOT NULL CHECK (octet_length(type) <= 80),
  campaign_id uuid,
  lead_id uuid NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}' CHECK (pg_column_size(detail) <= 4096),
  epoch smallint NOT NULL DEFAULT entrestate.event_epoch(),
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (tenant_id, recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX audience_actions_lead ON entrestate.audience_actions (lead_id, tenant_id, recorded_at, id);
CREATE INDEX audience_actions_consumer ON entrestate.audience_actions (epoch, txid);
COMMENT ON TABLE entrestate.audience_actions IS 'Why automation stopped: one row per suppression, and per lead that was cooled. Append-only. (B11)';
COMMENT ON COLUMN entrestate.audience_actions.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.audience_actions.recorded_at IS 'When (the document''s timestamp); names the partition.';
COMMENT ON COLUMN entrestate.audience_actions.id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.audience_actions.type IS 'sender.suppressed_hot and its kin, as sender_event_types() has them; lead.hot, lead.cooled.';
COMMENT ON COLUMN entrestate.audience_actions.campaign_id IS 'Campaign whose run ended, if any.';
COMMENT ON COLUMN entrestate.audience_actions.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.audience_actions.detail IS 'Reason and references, never personal data.';
COMMENT ON COLUMN entrestate.audience_actions.epoch IS 'Epoch of txid.';
COMMENT ON COLUMN entrestate.audience_actions.txid IS 'Transaction that wrote it, for consumers.';

SELECT entrestate.protect('score_settings', 'tenant');
SELECT entrestate.protect('intent_signals', 'events', by_month => true);
SELECT entrestate.protect('lead_scores', 'derived');
SELECT entrestate.protect('audience_actions', 'events', by_month => true);
