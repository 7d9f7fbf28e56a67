-- sender: sequences, templates, runs, what is due, events. (A8, B1, B2)
-- What the sender does with them: sender/decide.c and sender/process.c.

CREATE TABLE entrestate.templates (
  tenant_id uuid NOT NULL REFERENCES entrestate.tenants,
  template_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  channel text NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
  status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'approved', 'rejected', 'retired')),
  subject text CHECK (char_length(subject) <= 998),
  body text NOT NULL CHECK (octet_length(body) <= 262144),
  html boolean NOT NULL DEFAULT false CHECK (NOT html OR channel = 'email'),
  free_text boolean NOT NULL DEFAULT false CHECK (NOT free_text OR channel = 'whatsapp'),
  fields text[] NOT NULL DEFAULT '{}',
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, template_id, version)
);
COMMENT ON TABLE entrestate.templates IS 'Message templates; a version never changes once it is approved. (B1)';
COMMENT ON COLUMN entrestate.templates.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.templates.template_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.templates.version IS 'Version, from 1.';
COMMENT ON COLUMN entrestate.templates.name IS 'Name, 1 to 100 characters.';
COMMENT ON COLUMN entrestate.templates.channel IS 'email, sms or whatsapp.';
COMMENT ON COLUMN entrestate.templates.status IS 'draft, approved, rejected or retired; only approved ones are sent.';
COMMENT ON COLUMN entrestate.templates.subject IS 'Subject line (email).';
COMMENT ON COLUMN entrestate.templates.body IS 'Text with fields, at most 256 kB.';
COMMENT ON COLUMN entrestate.templates.html IS 'Whether the body is HTML, so that values in it are escaped (email).';
COMMENT ON COLUMN entrestate.templates.free_text IS 'A WhatsApp message that is not a template registered with the provider: sent only within 24 hours of the lead''s last message.';
COMMENT ON COLUMN entrestate.templates.fields IS 'The fields of subject and body that have no default: without one of them the step is skipped.';
COMMENT ON COLUMN entrestate.templates.created_by IS 'Who wrote it.';
COMMENT ON COLUMN entrestate.templates.created_at IS 'When.';

CREATE TABLE entrestate.sender_sequences (
  tenant_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'published', 'archived')),
  stop_on_reply boolean NOT NULL DEFAULT true,
  exit_predicate text CHECK (octet_length(exit_predicate) <= 4096),
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  published_at timestamptz,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, campaign_id, version),
  FOREIGN KEY (tenant_id, campaign_id) REFERENCES entrestate.campaigns (tenant_id, campaign_id)
);
CREATE UNIQUE INDEX sender_sequences_published ON entrestate.sender_sequences (tenant_id, campaign_id)
  WHERE status = 'published';
COMMENT ON TABLE entrestate.sender_sequences IS 'What should happen: versions of a campaign''s follow-up; a published one never changes. (B1)';
COMMENT ON COLUMN entrestate.sender_sequences.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sender_sequences.campaign_id IS 'The one campaign it belongs to. (B13)';
COMMENT ON COLUMN entrestate.sender_sequences.version IS 'Version within the campaign, from 1.';
COMMENT ON COLUMN entrestate.sender_sequences.name IS 'Name.';
COMMENT ON COLUMN entrestate.sender_sequences.status IS 'draft, published or archived; one published version per campaign.';
COMMENT ON COLUMN entrestate.sender_sequences.stop_on_reply IS 'Whether a reply ends the run.';
COMMENT ON COLUMN entrestate.sender_sequences.exit_predicate IS 'jsonpath predicate that ends a run (goal_reached).';
COMMENT ON COLUMN entrestate.sender_sequences.created_by IS 'Who made it.';
COMMENT ON COLUMN entrestate.sender_sequences.created_at IS 'When.';
COMMENT ON COLUMN entrestate.sender_sequences.published_at IS 'When it was published.';
COMMENT ON COLUMN entrestate.sender_sequences.updated_at IS 'When its status last changed.';

CREATE TABLE entrestate.sender_steps (
  tenant_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  version integer NOT NULL,
  step smallint NOT NULL CHECK (step BETWEEN 0 AND 99),
  channel text NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
  template_id uuid NOT NULL,
  template_version integer NOT NULL,
  delay interval NOT NULL CHECK (delay >= '0'),
  guard text CHECK (octet_length(guard) <= 4096),
  time_window jsonb,
  variants jsonb,
  PRIMARY KEY (tenant_id, campaign_id, version, step),
  FOREIGN KEY (tenant_id, campaign_id, version)
    REFERENCES entrestate.sender_sequences (tenant_id, campaign_id, version),
  FOREIGN KEY (tenant_id, template_id, template_version)
    REFERENCES entrestate.templates (tenant_id, template_id, version)
);
COMMENT ON TABLE entrestate.sender_steps IS 'The steps of a sequence version. (B1)';
COMMENT ON COLUMN entrestate.sender_steps.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sender_steps.campaign_id IS 'Campaign.';
COMMENT ON COLUMN entrestate.sender_steps.version IS 'Sequence version.';
COMMENT ON COLUMN entrestate.sender_steps.step IS 'Index from 0.';
COMMENT ON COLUMN entrestate.sender_steps.channel IS 'email, sms or whatsapp.';
COMMENT ON COLUMN entrestate.sender_steps.template_id IS 'Template.';
COMMENT ON COLUMN entrestate.sender_steps.template_version IS 'The template''s version, pinned.';
COMMENT ON COLUMN entrestate.sender_steps.delay IS 'After the outcome of the step before (step 0: after the attribution); days and months by the lead''s calendar, hours and less exactly.';
COMMENT ON COLUMN entrestate.sender_steps.guard IS 'jsonpath predicate; anything but true skips the step.';
COMMENT ON COLUMN entrestate.sender_steps.time_window IS 'Local hours in which the step may be sent: [{days, from, to}]; NULL: all.';
COMMENT ON COLUMN entrestate.sender_steps.variants IS '[{template, version, weight}], instead of the template; step_variant() chooses.';

-- From whom messages come. Gate 12 looks one up: the campaign's for the
-- channel, else the tenant's default, else none (sender_identity()).
CREATE TABLE entrestate.sender_identities (
  tenant_id uuid NOT NULL REFERENCES entrestate.tenants,
  identity_id uuid NOT NULL,
  channel text COLLATE "C" NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
  address text NOT NULL CHECK (octet_length(address) BETWEEN 1 AND 320),
  address_norm text COLLATE "C" NOT NULL CHECK (octet_length(address_norm) BETWEEN 1 AND 320),
  display_name text CHECK (char_length(display_name) BETWEEN 1 AND 100),
  status text NOT NULL DEFAULT 'unverified' CHECK (status IN ('unverified', 'pending', 'verified', 'failed', 'revoked')),
  is_default boolean NOT NULL DEFAULT false,
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  verified_by text,
  verified_at timestamptz,
  PRIMARY KEY (tenant_id, identity_id),
  CONSTRAINT sender_identities_address UNIQUE (address_norm, channel, tenant_id),
  CONSTRAINT sender_identities_channel UNIQUE (identity_id, channel, tenant_id),
  CHECK ((status = 'verified') <= (verified_at IS NOT NULL))
);
CREATE UNIQUE INDEX sender_identities_default ON entrestate.sender_identities (channel, tenant_id) WHERE is_default;
COMMENT ON TABLE entrestate.sender_identities IS 'Addresses that a tenant''s messages come from, and whether each is verified. (B1)';
COMMENT ON COLUMN entrestate.sender_identities.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sender_identities.identity_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.sender_identities.channel IS 'email, sms or whatsapp.';
COMMENT ON COLUMN entrestate.sender_identities.address IS 'Address or number, as given.';
COMMENT ON COLUMN entrestate.sender_identities.address_norm IS 'The same, normalised; once per channel.';
COMMENT ON COLUMN entrestate.sender_identities.display_name IS 'Name that recipients see.';
COMMENT ON COLUMN entrestate.sender_identities.status IS 'unverified, pending, verified, failed or revoked; transitions() says what follows what.';
COMMENT ON COLUMN entrestate.sender_identities.is_default IS 'Whether campaigns without one of their own use it; one per channel.';
COMMENT ON COLUMN entrestate.sender_identities.created_by IS 'Who made it.';
COMMENT ON COLUMN entrestate.sender_identities.created_at IS 'When.';
COMMENT ON COLUMN entrestate.sender_identities.verified_by IS 'Who last said that it is verified.';
COMMENT ON COLUMN entrestate.sender_identities.verified_at IS 'When.';

CREATE TABLE entrestate.campaign_identities (
  tenant_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  channel text COLLATE "C" NOT NULL,
  identity_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, campaign_id, channel),
  FOREIGN KEY (tenant_id, campaign_id) REFERENCES entrestate.campaigns (tenant_id, campaign_id),
  -- an identity of that channel
  FOREIGN KEY (identity_id, channel, tenant_id) REFERENCES entrestate.sender_identities (identity_id, channel, tenant_id)
);
COMMENT ON TABLE entrestate.campaign_identities IS 'The identity that a campaign uses for a channel, instead of the tenant''s default. (B1)';
COMMENT ON COLUMN entrestate.campaign_identities.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.campaign_identities.campaign_id IS 'Campaign.';
COMMENT ON COLUMN entrestate.campaign_identities.channel IS 'Channel.';
COMMENT ON COLUMN entrestate.campaign_identities.identity_id IS 'Identity of that channel.';

-- No foreign key from what is written per step (due, intents, events): their
-- keys are copied from a locked run by the processor alone, and verify()
-- looks for orphans.
CREATE TABLE entrestate.sender_runs (
  tenant_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  version integer NOT NULL,
  cursor smallint NOT NULL DEFAULT 0,
  status text NOT NULL DEFAULT 'pending'
    CHECK (status IN ('pending', 'running', 'suppressed', 'failed', 'done')),
  mode text NOT NULL CHECK (mode IN ('live', 'sandbox', 'dry_run')),
  next_at timestamptz,
  first_due_at timestamptz,
  run_seq integer NOT NULL DEFAULT 1,
  attempt smallint NOT NULL DEFAULT 0,
  deferrals smallint NOT NULL DEFAULT 0,
  sent_steps smallint NOT NULL DEFAULT 0,
  awaiting_go_live boolean NOT NULL DEFAULT false,
  stopped_by text,
  last_outcome_at timestamptz,
  reason smallint,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  ended_at timestamptz,
  PRIMARY KEY (tenant_id, campaign_id, lead_id),
  -- a run that has sent anything does not begin again
  CHECK (status <> 'pending' OR sent_steps = 0),
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id),
  FOREIGN KEY (tenant_id, campaign_id, version)
    REFERENCES entrestate.sender_sequences (tenant_id, campaign_id, version)
)
-- Room for another version of every row: each step is a HOT update, also while a snapshot that stays
-- open keeps the old ones (at 70, a third to a half of them wrote both indexes).
WITH (fillfactor = 45);
CREATE INDEX sender_runs_lead ON entrestate.sender_runs (lead_id, tenant_id);
COMMENT ON TABLE entrestate.sender_runs IS 'What is happening now: one run per campaign and lead; its id is run_id(campaign_id, lead_id). Equal to the fold of its events. (B2)';
COMMENT ON COLUMN entrestate.sender_runs.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sender_runs.campaign_id IS 'Campaign.';
COMMENT ON COLUMN entrestate.sender_runs.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.sender_runs.version IS 'Sequence version the run stays on.';
COMMENT ON COLUMN entrestate.sender_runs.cursor IS 'Index of the next step without an outcome.';
COMMENT ON COLUMN entrestate.sender_runs.status IS 'pending, running, suppressed, failed or done.';
COMMENT ON COLUMN entrestate.sender_runs.mode IS 'live, sandbox or dry_run.';
COMMENT ON COLUMN entrestate.sender_runs.next_at IS 'When the next step is due; NULL: in flight or ended.';
COMMENT ON COLUMN entrestate.sender_runs.first_due_at IS 'When the step was first due, before deferrals.';
COMMENT ON COLUMN entrestate.sender_runs.run_seq IS 'Number of the run''s last event: gapless.';
COMMENT ON COLUMN entrestate.sender_runs.attempt IS 'Attempt of the step; grows by an operator''s retry only.';
COMMENT ON COLUMN entrestate.sender_runs.deferrals IS 'Deferrals of the step so far.';
COMMENT ON COLUMN entrestate.sender_runs.sent_steps IS 'Steps sent so far: done is final once it is not 0.';
COMMENT ON COLUMN entrestate.sender_runs.awaiting_go_live IS 'A rehearsal that will begin again when the campaign goes live.';
COMMENT ON COLUMN entrestate.sender_runs.stopped_by IS 'Who stopped it; NULL: nobody.';
COMMENT ON COLUMN entrestate.sender_runs.last_outcome_at IS 'When the last step had its outcome, or the run began again after a rehearsal.';
COMMENT ON COLUMN entrestate.sender_runs.reason IS 'Code of the reason it ended for; sender_reasons() names it.';
COMMENT ON COLUMN entrestate.sender_runs.created_at IS 'When it began.';
COMMENT ON COLUMN entrestate.sender_runs.updated_at IS 'When it last changed: the instant of its last event.';
COMMENT ON COLUMN entrestate.sender_runs.ended_at IS 'When it ended.';

-- Which runs are due, by the step that they wait for: derived from the runs, so
-- that the run needs no index on what changes at every step. What is due at one
-- instant lies in one row of up to a hundred leads, and a batch takes whole rows:
-- a hundredth of the writes and of the dead rows that one row a run would leave.
-- A row is a hint: a run that has ended or moved on since is dropped when its row
-- is taken. So whoever ends a run need not look for it here.
CREATE TABLE entrestate.sender_due (
  tenant_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  version integer NOT NULL,
  step smallint NOT NULL,
  due_at timestamptz NOT NULL,
  chunk bigint GENERATED ALWAYS AS IDENTITY (CACHE 100),
  leads uuid[] NOT NULL CHECK (cardinality(leads) BETWEEN 1 AND 100),
  domain text COLLATE "C",
  PRIMARY KEY (tenant_id, campaign_id, version, step, due_at, chunk)
);
COMMENT ON TABLE entrestate.sender_due IS 'The runs that wait for their time: every run with a next_at is in a row of its step and instant. Read across tenants by the processor.';
COMMENT ON COLUMN entrestate.sender_due.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sender_due.campaign_id IS 'Campaign.';
COMMENT ON COLUMN entrestate.sender_due.version IS 'Sequence version of the runs.';
COMMENT ON COLUMN entrestate.sender_due.step IS 'The step they wait for.';
COMMENT ON COLUMN entrestate.sender_due.due_at IS 'The runs'' next_at.';
COMMENT ON COLUMN entrestate.sender_due.chunk IS 'Number of the row.';
COMMENT ON COLUMN entrestate.sender_due.leads IS 'The runs'' leads, in the order of their ids; some may have ended or moved on.';
COMMENT ON COLUMN entrestate.sender_due.domain IS 'The domain of their addresses, of runs that its rate has put back: they are passed over while it is used up; NULL: whatever they are.';

-- What of a budget is used: a row a window, written once a batch.
CREATE TABLE entrestate.sender_usage (
  tenant_id uuid NOT NULL,
  budget text COLLATE "C" NOT NULL CHECK (budget IN ('channel_day', 'channel_minute', 'campaign_minute', 'domain_minute')),
  key text COLLATE "C" NOT NULL,
  window_at timestamptz NOT NULL,
  used integer NOT NULL CHECK (used >= 0),
  PRIMARY KEY (tenant_id, budget, window_at, key)
) WITH (fillfactor = 50);
COMMENT ON TABLE entrestate.sender_usage IS 'Sends that count against daily limits and rates; a step that failed has given its own back. (B5)';
COMMENT ON COLUMN entrestate.sender_usage.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sender_usage.budget IS 'channel_day (a calendar day of the tenant), channel_minute, campaign_minute or domain_minute. Minutes are forgotten after two days (upkeep).';
COMMENT ON COLUMN entrestate.sender_usage.key IS 'The channel, the campaign''s id, or the domain.';
COMMENT ON COLUMN entrestate.sender_usage.window_at IS 'When the day or minute begins.';
COMMENT ON COLUMN entrestate.sender_usage.used IS 'Sends admitted in it.';

-- Queues that are held for what the processor found: since when, and why.
CREATE TABLE entrestate.sender_holds (
  tenant_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  version integer NOT NULL,
  step smallint NOT NULL,
  reason smallint NOT NULL,
  held_since timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, campaign_id, version, step),
  FOREIGN KEY (tenant_id, campaign_id, version, step) REFERENCES entrestate.sender_steps (tenant_id, campaign_id, version, step)
);
COMMENT ON TABLE entrestate.sender_holds IS 'Queues (the runs that wait for one step) that have something due and are held by a channel, an approval, an identity, a limit or a rate; what holds a tenant or campaign is written there. (B5, B7)';
COMMENT ON COLUMN entrestate.sender_holds.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sender_holds.campaign_id IS 'Campaign.';
COMMENT ON COLUMN entrestate.sender_holds.version IS 'Sequence version.';
COMMENT ON COLUMN entrestate.sender_holds.step IS 'Step.';
COMMENT ON COLUMN entrestate.sender_holds.reason IS 'Code of the reason; sender_reasons() names it.';
COMMENT ON COLUMN entrestate.sender_holds.held_since IS 'Since when.';

-- Codes are smallint here, named by sender_event_types() and its kin: this is
-- the widest and busiest table. The key serves a lead's story and a run's
-- replay; three more indexes serve campaign, type and consumers. The newest
-- events of a tenant come from the campaign index, campaign by campaign: and so
-- do those of the type that most are of, sender.step.sent, which the type index
-- leaves out: a step writes an entry less. (So the campaign index has the type,
-- too: the few of a type among the many are told there.) sender_events_list() knows.
CREATE TABLE entrestate.sender_events (
  tenant_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  recorded_at timestamptz NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY (CACHE 100),
  campaign_id uuid NOT NULL,
  epoch smallint NOT NULL DEFAULT entrestate.event_epoch(),
  type smallint NOT NULL,
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  run_seq integer,
  step smallint,
  attempt smallint,
  mode smallint NOT NULL,
  channel smallint,
  reason smallint,
  decided_at timestamptz,
  next_at timestamptz,
  score integer,
  hot boolean,
  cap_count smallint,
  zone text,
  variant smallint,
  sequence_version integer,
  template_version integer,
  policy_version integer,
  PRIMARY KEY (tenant_id, lead_id, recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX sender_events_campaign ON entrestate.sender_events (campaign_id, tenant_id, recorded_at, type);
CREATE INDEX sender_events_type ON entrestate.sender_events (type, tenant_id, recorded_at) WHERE type <> 10;
CREATE INDEX sender_events_consumer ON entrestate.sender_events (epoch, txid);
COMMENT ON TABLE entrestate.sender_events IS 'Everything the sender did, and what providers reported. Append-only. (A8, B2)';
COMMENT ON COLUMN entrestate.sender_events.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sender_events.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.sender_events.recorded_at IS 'When it was recorded; names the partition.';
COMMENT ON COLUMN entrestate.sender_events.id IS 'Number within the table.';
COMMENT ON COLUMN entrestate.sender_events.campaign_id IS 'Campaign.';
COMMENT ON COLUMN entrestate.sender_events.epoch IS 'Epoch of txid.';
COMMENT ON COLUMN entrestate.sender_events.type IS 'Code of sender_event_types().';
COMMENT ON COLUMN entrestate.sender_events.txid IS 'Transaction that wrote it, for consumers.';
COMMENT ON COLUMN entrestate.sender_events.run_seq IS 'Number within the run, gapless from 1; NULL for provider reports.';
COMMENT ON COLUMN entrestate.sender_events.step IS 'Step index.';
COMMENT ON COLUMN entrestate.sender_events.attempt IS 'Attempt of the step; with run and step the intent''s key.';
COMMENT ON COLUMN entrestate.sender_events.mode IS 'Code of sender_modes().';
COMMENT ON COLUMN entrestate.sender_events.channel IS 'Code of sender_channels().';
COMMENT ON COLUMN entrestate.sender_events.reason IS 'Code of sender_reasons().';
COMMENT ON COLUMN entrestate.sender_events.decided_at IS 'Instant of the decision; of a provider''s report: when it happened.';
COMMENT ON COLUMN entrestate.sender_events.next_at IS 'The run''s next_at after it.';
COMMENT ON COLUMN entrestate.sender_events.score IS 'The lead''s score that the decision saw.';
COMMENT ON COLUMN entrestate.sender_events.hot IS 'Whether the lead was hot.';
COMMENT ON COLUMN entrestate.sender_events.cap_count IS 'Sends within the frequency cap''s window.';
COMMENT ON COLUMN entrestate.sender_events.zone IS 'Time zone of the lead; NULL: it has none of its own, and the tenant''s was used.';
COMMENT ON COLUMN entrestate.sender_events.variant IS 'Variant of the step.';
COMMENT ON COLUMN entrestate.sender_events.sequence_version IS 'The run''s sequence version.';
COMMENT ON COLUMN entrestate.sender_events.template_version IS 'The template''s version.';
COMMENT ON COLUMN entrestate.sender_events.policy_version IS 'The campaign''s policy version.';

CREATE TABLE entrestate.handoff_tickets (
  tenant_id uuid NOT NULL,
  ticket_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  campaign_id uuid,
  status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'taken', 'resolved')),
  reason text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 100),
  opened_by text NOT NULL,
  opened_at timestamptz NOT NULL,
  taken_by text COLLATE "C",
  taken_at timestamptz,
  first_touch_at timestamptz,
  resolved_by text,
  resolved_at timestamptz,
  outcome text CHECK (char_length(outcome) BETWEEN 1 AND 100),
  PRIMARY KEY (tenant_id, ticket_id),
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id),
  FOREIGN KEY (tenant_id, campaign_id) REFERENCES entrestate.campaigns (tenant_id, campaign_id),
  CHECK ((status = 'taken') <= (taken_by IS NOT NULL)),
  CHECK ((status = 'resolved') = (resolved_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX handoff_tickets_open ON entrestate.handoff_tickets (lead_id, tenant_id) WHERE status <> 'resolved';
CREATE INDEX handoff_tickets_campaign ON entrestate.handoff_tickets (campaign_id, tenant_id);
CREATE INDEX handoff_tickets_lead ON entrestate.handoff_tickets (lead_id, tenant_id, opened_at);
CREATE INDEX handoff_tickets_status ON entrestate.handoff_tickets (status, tenant_id, opened_at, ticket_id);
COMMENT ON TABLE entrestate.handoff_tickets IS 'Leads that a person takes over; one that is not resolved ends all automation for the lead.';
COMMENT ON COLUMN entrestate.handoff_tickets.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.handoff_tickets.ticket_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.handoff_tickets.lead_id IS 'Lead; at most one ticket of a lead is not resolved.';
COMMENT ON COLUMN entrestate.handoff_tickets.campaign_id IS 'Campaign it came from, if any.';
COMMENT ON COLUMN entrestate.handoff_tickets.status IS 'open, taken or resolved; transitions() says what follows what.';
COMMENT ON COLUMN entrestate.handoff_tickets.reason IS 'hot, replied, or what a person or the chat agent gave.';
COMMENT ON COLUMN entrestate.handoff_tickets.opened_by IS 'Who opened it: a user''s id, or system.';
COMMENT ON COLUMN entrestate.handoff_tickets.opened_at IS 'When.';
COMMENT ON COLUMN entrestate.handoff_tickets.taken_by IS 'Who has it.';
COMMENT ON COLUMN entrestate.handoff_tickets.taken_at IS 'Since when.';
COMMENT ON COLUMN entrestate.handoff_tickets.first_touch_at IS 'When somebody first took it: the time to first touch is this less opened_at.';
COMMENT ON COLUMN entrestate.handoff_tickets.resolved_by IS 'Who resolved it.';
COMMENT ON COLUMN entrestate.handoff_tickets.resolved_at IS 'When.';
COMMENT ON COLUMN entrestate.handoff_tickets.outcome IS 'What came of it.';

CREATE TABLE entrestate.sandbox_settings (
  tenant_id uuid NOT NULL PRIMARY KEY REFERENCES entrestate.tenants,
  seed bigint NOT NULL,
  rates jsonb NOT NULL,
  set_by text NOT NULL,
  set_at timestamptz NOT NULL
);
COMMENT ON TABLE entrestate.sandbox_settings IS 'How the sandbox provider draws what becomes of a sandbox tenant''s messages; without a row everything is sent. (E16)';
COMMENT ON COLUMN entrestate.sandbox_settings.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sandbox_settings.seed IS 'Seed: the same leads with the same seed meet the same fate.';
COMMENT ON COLUMN entrestate.sandbox_settings.rates IS 'All rates, as sandbox_rates() names them.';
COMMENT ON COLUMN entrestate.sandbox_settings.set_by IS 'Who set them.';
COMMENT ON COLUMN entrestate.sandbox_settings.set_at IS 'When.';

-- In the order in which they come in: by instant and, of one instant, by a hash
-- that depends on no id.
CREATE TABLE entrestate.sandbox_callbacks (
  tenant_id uuid NOT NULL,
  due_at timestamptz NOT NULL,
  draw bigint NOT NULL,
  campaign_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  step smallint NOT NULL,
  attempt smallint NOT NULL,
  what text COLLATE "C" NOT NULL CHECK (what IN ('delivered', 'bounced', 'auto_replied', 'opened', 'clicked', 'replied', 'chat_message',
    'form_resubmission', 'call_request', 'unsubscribed', 'complained', 'settled_sent', 'settled_failed')),
  PRIMARY KEY (tenant_id, due_at, draw, campaign_id, lead_id, step, attempt, what)
);
COMMENT ON TABLE entrestate.sandbox_callbacks IS 'What the sandbox provider will report, and what leads will do, once it is due; taken away then. Read across tenants by sandbox_report(). (E16)';
COMMENT ON COLUMN entrestate.sandbox_callbacks.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sandbox_callbacks.due_at IS 'When it happens.';
COMMENT ON COLUMN entrestate.sandbox_callbacks.draw IS 'Hash that was drawn for it: the order of what falls on one instant.';
COMMENT ON COLUMN entrestate.sandbox_callbacks.campaign_id IS 'Campaign of the message.';
COMMENT ON COLUMN entrestate.sandbox_callbacks.lead_id IS 'Its lead.';
COMMENT ON COLUMN entrestate.sandbox_callbacks.step IS 'Its step.';
COMMENT ON COLUMN entrestate.sandbox_callbacks.attempt IS 'Its attempt.';
COMMENT ON COLUMN entrestate.sandbox_callbacks.what IS 'What happens: a report''s type, or the kind of a signal.';

-- Where test sends go. No unique index on the address: colleagues may share a
-- mailbox. A lead's address is refused when a test is sent.
CREATE TABLE entrestate.member_contacts (
  tenant_id uuid NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('email', 'phone')),
  address text NOT NULL CHECK (octet_length(address) BETWEEN 1 AND 1280),
  address_norm text COLLATE "C" NOT NULL CHECK (octet_length(address_norm) BETWEEN 1 AND 320),
  set_by text NOT NULL,
  set_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, user_id, kind),
  FOREIGN KEY (tenant_id, user_id) REFERENCES entrestate.members (tenant_id, user_id) ON DELETE CASCADE
);
COMMENT ON TABLE entrestate.member_contacts IS 'How members are reached, for test sends; removed with the member. (B1)';
COMMENT ON COLUMN entrestate.member_contacts.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.member_contacts.user_id IS 'Member.';
COMMENT ON COLUMN entrestate.member_contacts.kind IS 'email or phone; one of each.';
COMMENT ON COLUMN entrestate.member_contacts.address IS 'As given.';
COMMENT ON COLUMN entrestate.member_contacts.address_norm IS 'Normalised: email_normalise(), phone_normalise().';
COMMENT ON COLUMN entrestate.member_contacts.set_by IS 'Who set it.';
COMMENT ON COLUMN entrestate.member_contacts.set_at IS 'When.';

-- No address: whoever sends a test looks the member's up when it starts, so one
-- who is a member no longer gets none. No foreign key on user_id, since what was
-- sent to somebody stays when he goes.
CREATE TABLE entrestate.sender_tests (
  tenant_id uuid NOT NULL,
  test_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  version integer NOT NULL,
  step smallint NOT NULL,
  variant smallint,
  template_id uuid NOT NULL,
  template_version integer NOT NULL,
  channel text NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
  user_id text COLLATE "C" NOT NULL,
  lead_id uuid,
  mode text NOT NULL CHECK (mode IN ('live', 'sandbox', 'dry_run')),
  status text NOT NULL CHECK (status IN ('ready', 'sent', 'failed', 'unknown', 'simulated')),
  message jsonb,
  requested_by text NOT NULL,
  created_at timestamptz NOT NULL,
  final_at timestamptz,
  reason smallint,
  PRIMARY KEY (tenant_id, test_id),
  FOREIGN KEY (tenant_id, campaign_id, version, step) REFERENCES entrestate.sender_steps (tenant_id, campaign_id, version, step),
  FOREIGN KEY (tenant_id, template_id, template_version) REFERENCES entrestate.templates (tenant_id, template_id, version),
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id),
  CHECK ((status = 'ready') = (message IS NOT NULL)),
  CHECK ((status = 'ready') = (final_at IS NULL)),
  CHECK ((status = 'simulated') = (mode = 'dry_run'))
);
CREATE INDEX sender_tests_campaign ON entrestate.sender_tests (campaign_id, tenant_id, test_id);
CREATE INDEX sender_tests_ready ON entrestate.sender_tests (created_at, tenant_id) WHERE status = 'ready';
COMMENT ON TABLE entrestate.sender_tests IS 'Messages of steps that members were sent to see them; no lead was sent anything. (B1)';
COMMENT ON COLUMN entrestate.sender_tests.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.sender_tests.test_id IS 'Id, a time-ordered UUID; the provider''s idempotency key.';
COMMENT ON COLUMN entrestate.sender_tests.campaign_id IS 'Campaign.';
COMMENT ON COLUMN entrestate.sender_tests.version IS 'Sequence version.';
COMMENT ON COLUMN entrestate.sender_tests.step IS 'Step index.';
COMMENT ON COLUMN entrestate.sender_tests.variant IS 'Variant of the step; NULL: it has none.';
COMMENT ON COLUMN entrestate.sender_tests.template_id IS 'Template.';
COMMENT ON COLUMN entrestate.sender_tests.template_version IS 'Its version.';
COMMENT ON COLUMN entrestate.sender_tests.channel IS 'email, sms or whatsapp.';
COMMENT ON COLUMN entrestate.sender_tests.user_id IS 'To whom: a member, then.';
COMMENT ON COLUMN entrestate.sender_tests.lead_id IS 'Lead whose values were used; NULL: samples.';
COMMENT ON COLUMN entrestate.sender_tests.mode IS 'live or sandbox: the tenant''s; dry_run.';
COMMENT ON COLUMN entrestate.sender_tests.status IS 'ready, sent, failed, unknown or simulated; transitions() says what follows what.';
COMMENT ON COLUMN entrestate.sender_tests.message IS 'The rendered message {subject, body, html} while it is ready; then removed.';
COMMENT ON COLUMN entrestate.sender_tests.requested_by IS 'Who asked for it.';
COMMENT ON COLUMN entrestate.sender_tests.created_at IS 'When.';
COMMENT ON COLUMN entrestate.sender_tests.final_at IS 'When it left ready.';
COMMENT ON COLUMN entrestate.sender_tests.reason IS 'Code of sender_reasons().';

-- no statistics of what tells of a person, as of leads' addresses
ALTER TABLE entrestate.member_contacts ALTER address SET STATISTICS 0, ALTER address_norm SET STATISTICS 0;
ALTER TABLE entrestate.sender_tests ALTER message SET STATISTICS 0;

SELECT entrestate.protect('templates', 'tenant', 'template', 'status');
SELECT entrestate.protect('sender_sequences', 'tenant', 'sequence', 'status');
SELECT entrestate.protect('sender_steps', 'tenant', 'steps', 'version');
SELECT entrestate.protect('sender_identities', 'tenant', 'identity', 'status');
SELECT entrestate.protect('campaign_identities', 'tenant');
SELECT entrestate.protect('sender_runs', 'derived', 'run', 'status');
SELECT entrestate.protect('sender_due', 'global');
SELECT entrestate.protect('sandbox_settings', 'tenant');
SELECT entrestate.protect('sandbox_callbacks', 'global');
SELECT entrestate.protect('sender_usage', 'derived');
SELECT entrestate.protect('sender_holds', 'derived');
SELECT entrestate.protect('member_contacts', 'tenant');
SELECT entrestate.protect('sender_tests', 'derived', 'test', 'status');
SELECT entrestate.protect('sender_events', 'events', by_month => true);
SELECT entrestate.protect('handoff_tickets', 'tenant', 'handoff', 'status');
