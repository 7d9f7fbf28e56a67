-- delivery: what is to be sent, and what became of it. (B4)

CREATE TABLE entrestate.sender_intents (
  tenant_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  step smallint NOT NULL,
  attempt smallint NOT NULL,
  status text NOT NULL CHECK (status IN ('ready', 'leased', 'started', 'sent', 'failed', 'unknown', 'voided')),
  mode text NOT NULL CHECK (mode IN ('live', 'sandbox')),
  channel text NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
  provider text NOT NULL CHECK (provider IN ('none', 'sandbox', 'resend', 'twilio', 'smtp')),
  template_id uuid NOT NULL,
  template_version integer NOT NULL,
  variant smallint,
  message jsonb,
  not_before timestamptz NOT NULL,
  leased_until timestamptz,
  tries smallint NOT NULL DEFAULT 0,
  started_at timestamptz,
  final_at timestamptz,
  outcome_reason smallint,
  created_at timestamptz NOT NULL,
  -- a step's messages side by side: those that are sent together are neighbours
  PRIMARY KEY (tenant_id, campaign_id, step, lead_id, attempt),
  CHECK (status = 'unknown' OR (final_at IS NULL) = (status IN ('ready', 'leased', 'started'))),
  CHECK (final_at IS NULL OR message IS NULL)
) WITH (fillfactor = 80);
CREATE INDEX sender_intents_open ON entrestate.sender_intents (tenant_id, not_before)
  WHERE status IN ('ready', 'leased', 'started');
-- What is on its way for a lead: final_at IS NULL AND status <> 'unknown', said so and not as above, because a
-- planner that takes both indexes for empty cannot tell which of them is a lead's.
CREATE INDEX sender_intents_flight ON entrestate.sender_intents (lead_id, tenant_id) WHERE final_at IS NULL;
COMMENT ON TABLE entrestate.sender_intents IS 'One admitted step and attempt: what is to be sent. The key is the provider''s idempotency key. (B4)';
COMMENT ON COLUMN entrestate.sender_intents.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sender_intents.campaign_id IS 'Campaign of the run.';
COMMENT ON COLUMN entrestate.sender_intents.lead_id IS 'Lead of the run.';
COMMENT ON COLUMN entrestate.sender_intents.step IS 'Step index.';
COMMENT ON COLUMN entrestate.sender_intents.attempt IS 'Attempt, from 0; grows by an operator''s retry only.';
COMMENT ON COLUMN entrestate.sender_intents.status IS 'ready, leased, started, sent, failed, unknown or voided.';
COMMENT ON COLUMN entrestate.sender_intents.mode IS 'live or sandbox: the tenant''s.';
COMMENT ON COLUMN entrestate.sender_intents.channel IS 'email, sms or whatsapp.';
COMMENT ON COLUMN entrestate.sender_intents.provider IS 'Who sends it; none: no provider is configured yet.';
COMMENT ON COLUMN entrestate.sender_intents.template_id IS 'Template.';
COMMENT ON COLUMN entrestate.sender_intents.template_version IS 'Its version.';
COMMENT ON COLUMN entrestate.sender_intents.variant IS 'Variant of the step.';
COMMENT ON COLUMN entrestate.sender_intents.message IS 'The rendered message while it is not final; then removed.';
COMMENT ON COLUMN entrestate.sender_intents.not_before IS 'When it may be sent at the earliest.';
COMMENT ON COLUMN entrestate.sender_intents.leased_until IS 'Until when a sender has it.';
COMMENT ON COLUMN entrestate.sender_intents.tries IS 'Automatic tries under the same key.';
COMMENT ON COLUMN entrestate.sender_intents.started_at IS 'When the send started: the commit that counts. (L4)';
COMMENT ON COLUMN entrestate.sender_intents.final_at IS 'When it became final.';
COMMENT ON COLUMN entrestate.sender_intents.outcome_reason IS 'Code of sender_reasons().';
COMMENT ON COLUMN entrestate.sender_intents.created_at IS 'When it was admitted.';

SELECT entrestate.protect('sender_intents', 'derived', 'intent', 'status');
