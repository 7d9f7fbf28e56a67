-- leads: people within a tenant, how they are reached, where they came from. (A7, B8)

CREATE TABLE entrestate.leads (
  tenant_id uuid NOT NULL REFERENCES entrestate.tenants,
  lead_id uuid NOT NULL,
  campaign_id uuid,
  full_name text CHECK (char_length(full_name) <= 200),
  company text CHECK (char_length(company) <= 200),
  status text NOT NULL DEFAULT 'new' CHECK (status IN
    ('new', 'enriched', 'drafted', 'approved', 'contacted', 'replied', 'booked', 'lost')),
  direction text NOT NULL DEFAULT 'NOISE' CHECK (direction IN ('RISK', 'READY', 'WARMING', 'EXPLORING', 'NOISE')),
  grade text CHECK (grade IN ('A', 'B', 'C')),
  grade_override text CHECK (grade_override IN ('A', 'B', 'C')),
  grade_override_reason text CHECK (char_length(grade_override_reason) <= 500),
  grade_override_by text,
  grade_override_at timestamptz,
  hot_at timestamptz,
  replied_at timestamptz,
  whatsapp_at timestamptz,
  opted_out_at timestamptz,
  complained_at timestamptz,
  erasure_requested_at timestamptz,
  handoff_at timestamptz,
  handoff_open boolean NOT NULL DEFAULT false,
  merged_into uuid,
  owner_id text COLLATE "C",
  time_zone text,
  source text NOT NULL CHECK (char_length(source) BETWEEN 1 AND 40),
  idempotency_key text CHECK (char_length(idempotency_key) BETWEEN 1 AND 255),
  custom jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, lead_id),
  CHECK (merged_into <> lead_id),
  CHECK (grade_override IS NULL OR grade_override_reason IS NOT NULL),
  FOREIGN KEY (tenant_id, campaign_id) REFERENCES entrestate.campaigns (tenant_id, campaign_id),
  FOREIGN KEY (tenant_id, merged_into) REFERENCES entrestate.leads (tenant_id, lead_id)
) WITH (fillfactor = 80);
-- Not the tenant first in what is not the primary key: while a table is small
-- and not analyzed, an index that begins with the tenant looks as good as the
-- primary key, and a plan kept from then (a foreign key's, too) would read a
-- tenant's rows one by one.
-- most have none: a NULL would be an entry for every new version of the row
CREATE UNIQUE INDEX leads_idempotency ON entrestate.leads (idempotency_key, tenant_id) WHERE idempotency_key IS NOT NULL;
CREATE INDEX leads_campaign ON entrestate.leads (campaign_id, tenant_id, updated_at, lead_id);
CREATE INDEX leads_direction ON entrestate.leads (direction, tenant_id, updated_at);
-- most leads are new: the others are what people look for by status
CREATE INDEX leads_status ON entrestate.leads (status, tenant_id, lead_id) WHERE status <> 'new';
CREATE INDEX leads_owner ON entrestate.leads (owner_id, tenant_id, lead_id) WHERE owner_id IS NOT NULL;
CREATE INDEX leads_merged ON entrestate.leads (merged_into, tenant_id) WHERE merged_into IS NOT NULL;
COMMENT ON TABLE entrestate.leads IS 'Leads: people within a tenant. (A7)';
COMMENT ON COLUMN entrestate.leads.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.leads.lead_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.leads.campaign_id IS 'Campaign of the first attribution; NULL: unresolved.';
COMMENT ON COLUMN entrestate.leads.full_name IS 'Name.';
COMMENT ON COLUMN entrestate.leads.company IS 'Company.';
COMMENT ON COLUMN entrestate.leads.status IS 'Status; transitions() says what follows what.';
COMMENT ON COLUMN entrestate.leads.direction IS 'RISK, READY, WARMING, EXPLORING or NOISE, derived from signals.';
COMMENT ON COLUMN entrestate.leads.grade IS 'A, B or C, as given by whoever qualifies leads; enters no gate. (C7)';
COMMENT ON COLUMN entrestate.leads.grade_override IS 'A person''s grade, which goes before; enters no gate. (C7)';
COMMENT ON COLUMN entrestate.leads.grade_override_reason IS 'Why.';
COMMENT ON COLUMN entrestate.leads.grade_override_by IS 'Who.';
COMMENT ON COLUMN entrestate.leads.grade_override_at IS 'When.';
COMMENT ON COLUMN entrestate.leads.hot_at IS 'Since when the lead is hot: a latch; NULL: not hot. (B9)';
COMMENT ON COLUMN entrestate.leads.replied_at IS 'Last reply to any message of the tenant.';
COMMENT ON COLUMN entrestate.leads.whatsapp_at IS 'Last WhatsApp message from the lead: free text may be sent for 24 hours.';
COMMENT ON COLUMN entrestate.leads.opted_out_at IS 'Since when the lead is opted out of all channels.';
COMMENT ON COLUMN entrestate.leads.complained_at IS 'When the lead complained.';
COMMENT ON COLUMN entrestate.leads.erasure_requested_at IS 'When the lead asked to be erased.';
COMMENT ON COLUMN entrestate.leads.handoff_at IS 'When the last handoff ticket was opened: derived from handoff_tickets.';
COMMENT ON COLUMN entrestate.leads.handoff_open IS 'Whether a handoff ticket is open or taken: derived from handoff_tickets.';
COMMENT ON COLUMN entrestate.leads.merged_into IS 'The lead this duplicate was merged into.';
COMMENT ON COLUMN entrestate.leads.owner_id IS 'Member who owns the lead.';
COMMENT ON COLUMN entrestate.leads.time_zone IS 'IANA zone; NULL: the tenant''s.';
COMMENT ON COLUMN entrestate.leads.source IS 'form, chat, api, import, …';
COMMENT ON COLUMN entrestate.leads.idempotency_key IS 'The caller''s key: the same key again is the same lead.';
COMMENT ON COLUMN entrestate.leads.custom IS 'The tenant''s own fields.';
COMMENT ON COLUMN entrestate.leads.created_at IS 'When the lead arrived.';
COMMENT ON COLUMN entrestate.leads.updated_at IS 'When the lead last changed.';

CREATE TABLE entrestate.lead_contacts (
  tenant_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('email', 'phone')),
  address_norm text COLLATE "C" NOT NULL CHECK (octet_length(address_norm) BETWEEN 1 AND 320),
  address text NOT NULL CHECK (octet_length(address) BETWEEN 1 AND 320),
  is_primary boolean NOT NULL,
  unusable_reason text,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, lead_id, kind, address_norm),
  -- an address belongs to one lead: two forms at once cannot make two
  CONSTRAINT lead_contacts_address UNIQUE (address_norm, kind, tenant_id),
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id)
);
CREATE UNIQUE INDEX lead_contacts_primary ON entrestate.lead_contacts (tenant_id, lead_id, kind) WHERE is_primary;
COMMENT ON TABLE entrestate.lead_contacts IS 'How a lead is reached: email addresses and phone numbers. (A7)';
COMMENT ON COLUMN entrestate.lead_contacts.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.lead_contacts.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.lead_contacts.kind IS 'email or phone.';
COMMENT ON COLUMN entrestate.lead_contacts.address_norm IS 'Normalised: email_normalise(), phone_normalise(); one lead of the tenant has it.';
COMMENT ON COLUMN entrestate.lead_contacts.address IS 'As given.';
COMMENT ON COLUMN entrestate.lead_contacts.is_primary IS 'The one that the sender uses; one per kind.';
COMMENT ON COLUMN entrestate.lead_contacts.unusable_reason IS 'Why the sender must not use it (a hard bounce); NULL: it may.';
COMMENT ON COLUMN entrestate.lead_contacts.created_at IS 'When it was recorded.';

-- Frequency caps hold for a lead and for an address: who had this one before.
-- A step costs nothing for it; only what is removed is written here.
CREATE TABLE entrestate.past_contacts (
  tenant_id uuid NOT NULL,
  address_hash bytea NOT NULL CHECK (octet_length(address_hash) = 32),
  lead_id uuid NOT NULL,
  removed_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, address_hash, lead_id),
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id)
);
COMMENT ON TABLE entrestate.past_contacts IS 'Leads that had an address before: what they were sent until then counts against the caps of whoever has it now. (A7, B6)';
COMMENT ON COLUMN entrestate.past_contacts.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.past_contacts.address_hash IS 'address_hash() of it: who does not know the address does not learn it here.';
COMMENT ON COLUMN entrestate.past_contacts.lead_id IS 'Lead that had it.';
COMMENT ON COLUMN entrestate.past_contacts.removed_at IS 'Until when.';

CREATE TABLE entrestate.lead_attributions (
  tenant_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  attributed_at timestamptz NOT NULL,
  form text CHECK (char_length(form) <= 255),
  landing_page text CHECK (char_length(landing_page) <= 2048),
  referrer text CHECK (char_length(referrer) <= 2048),
  utm jsonb NOT NULL DEFAULT '{}',
  click_ids jsonb NOT NULL DEFAULT '{}',
  resolved_by text NOT NULL CHECK (resolved_by IN ('campaign_id', 'form', 'landing_page', 'click_id', 'utm_campaign')),
  imported boolean NOT NULL DEFAULT false,
  unable boolean NOT NULL DEFAULT true,
  epoch smallint NOT NULL DEFAULT entrestate.event_epoch(),
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (tenant_id, lead_id, campaign_id),
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id),
  FOREIGN KEY (tenant_id, campaign_id) REFERENCES entrestate.campaigns (tenant_id, campaign_id)
);
CREATE INDEX lead_attributions_campaign ON entrestate.lead_attributions (campaign_id, tenant_id, attributed_at);
COMMENT ON TABLE entrestate.lead_attributions IS 'Why a lead belongs to a campaign; never changes. (B3, B8)';
COMMENT ON COLUMN entrestate.lead_attributions.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.lead_attributions.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.lead_attributions.campaign_id IS 'Campaign.';
COMMENT ON COLUMN entrestate.lead_attributions.attributed_at IS 'When the lead came.';
COMMENT ON COLUMN entrestate.lead_attributions.form IS 'Form the lead sent.';
COMMENT ON COLUMN entrestate.lead_attributions.landing_page IS 'Origin landing page: a reference.';
COMMENT ON COLUMN entrestate.lead_attributions.referrer IS 'Referrer.';
COMMENT ON COLUMN entrestate.lead_attributions.utm IS 'utm parameters.';
COMMENT ON COLUMN entrestate.lead_attributions.click_ids IS 'Click ids (gclid, …).';
COMMENT ON COLUMN entrestate.lead_attributions.resolved_by IS 'What named the campaign.';
COMMENT ON COLUMN entrestate.lead_attributions.unable IS 'Whether the campaign''s sender could not start runs, as its transaction saw it.';
COMMENT ON COLUMN entrestate.lead_attributions.epoch IS 'Epoch of txid.';
COMMENT ON COLUMN entrestate.lead_attributions.txid IS 'Transaction that wrote it: tells a lead that a race missed from one that came before.';
COMMENT ON COLUMN entrestate.lead_attributions.imported IS 'Came by an import: a run only where the campaign has runs_on_import.';

CREATE TABLE entrestate.unresolved_attributions (
  tenant_id uuid NOT NULL,
  attribution_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  attribution jsonb NOT NULL,
  reason text NOT NULL CHECK (reason IN ('unresolved', 'ambiguous')),
  resolved_by text,
  candidates uuid[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL,
  settled_at timestamptz,
  PRIMARY KEY (tenant_id, attribution_id),
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id)
);
CREATE INDEX unresolved_attributions_open ON entrestate.unresolved_attributions (tenant_id, attribution_id)
  WHERE settled_at IS NULL;
CREATE INDEX unresolved_attributions_lead ON entrestate.unresolved_attributions (lead_id, tenant_id);
COMMENT ON TABLE entrestate.unresolved_attributions IS 'Attributions that name no campaign, or several: listed, never guessed. (B8)';
COMMENT ON COLUMN entrestate.unresolved_attributions.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.unresolved_attributions.attribution_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.unresolved_attributions.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.unresolved_attributions.attribution IS 'What came with the lead: form, landing_page, referrer, utm, click_ids.';
COMMENT ON COLUMN entrestate.unresolved_attributions.reason IS 'unresolved: no campaign has such a binding; ambiguous: several have.';
COMMENT ON COLUMN entrestate.unresolved_attributions.resolved_by IS 'Which part was ambiguous; NULL: unresolved.';
COMMENT ON COLUMN entrestate.unresolved_attributions.candidates IS 'The campaigns of an ambiguous one.';
COMMENT ON COLUMN entrestate.unresolved_attributions.created_at IS 'When the lead came.';
COMMENT ON COLUMN entrestate.unresolved_attributions.settled_at IS 'When the lead was attributed after all; NULL: open.';

CREATE TABLE entrestate.lead_consents (
  tenant_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  channel text COLLATE "C" NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
  recorded_at timestamptz NOT NULL,
  status text NOT NULL CHECK (status IN ('granted', 'withdrawn')),
  source text NOT NULL CHECK (char_length(source) BETWEEN 1 AND 100),
  given_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, lead_id, channel, recorded_at),
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id)
);
COMMENT ON TABLE entrestate.lead_consents IS 'Consent per channel, with its source and time; the last recorded one holds. (A7)';
COMMENT ON COLUMN entrestate.lead_consents.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.lead_consents.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.lead_consents.channel IS 'email, sms or whatsapp.';
COMMENT ON COLUMN entrestate.lead_consents.recorded_at IS 'When it was recorded here.';
COMMENT ON COLUMN entrestate.lead_consents.status IS 'granted or withdrawn.';
COMMENT ON COLUMN entrestate.lead_consents.source IS 'Where it was given: a form, a call, a reference to the evidence.';
COMMENT ON COLUMN entrestate.lead_consents.given_at IS 'When the person gave it.';

CREATE TABLE entrestate.suppressions (
  tenant_id uuid NOT NULL REFERENCES entrestate.tenants,
  channel text COLLATE "C" NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
  address_norm text COLLATE "C" NOT NULL CHECK (octet_length(address_norm) BETWEEN 1 AND 320),
  reason text NOT NULL CHECK (reason IN ('opt_out', 'complaint', 'hard_bounce', 'manual')),
  source text CHECK (char_length(source) <= 100),
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, channel, address_norm)
);
COMMENT ON TABLE entrestate.suppressions IS 'Addresses that are not written to, by channel; kept whatever becomes of the lead. (A7)';
COMMENT ON COLUMN entrestate.suppressions.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.suppressions.channel IS 'email, sms or whatsapp.';
COMMENT ON COLUMN entrestate.suppressions.address_norm IS 'Normalised address.';
COMMENT ON COLUMN entrestate.suppressions.reason IS 'opt_out, complaint, hard_bounce or manual.';
COMMENT ON COLUMN entrestate.suppressions.source IS 'How it came: STOP, unsubscribe link, a person.';
COMMENT ON COLUMN entrestate.suppressions.created_by IS 'Who recorded it.';
COMMENT ON COLUMN entrestate.suppressions.created_at IS 'When.';

CREATE TABLE entrestate.leads_notes (
  tenant_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  note_id uuid NOT NULL,
  body text NOT NULL CHECK (char_length(body) BETWEEN 1 AND 10000),
  author text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, lead_id, note_id),
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id)
);
COMMENT ON TABLE entrestate.leads_notes IS 'What people wrote about a lead. (A7)';
COMMENT ON COLUMN entrestate.leads_notes.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.leads_notes.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.leads_notes.note_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.leads_notes.body IS 'Text, 1 to 10,000 characters.';
COMMENT ON COLUMN entrestate.leads_notes.author IS 'Who wrote it.';
COMMENT ON COLUMN entrestate.leads_notes.created_at IS 'When.';

CREATE TABLE entrestate.lead_tags (
  tenant_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  tag text COLLATE "C" NOT NULL CHECK (char_length(tag) BETWEEN 1 AND 50),
  PRIMARY KEY (tenant_id, lead_id, tag),
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id)
);
CREATE INDEX lead_tags_tag ON entrestate.lead_tags (tag, tenant_id, lead_id);
COMMENT ON TABLE entrestate.lead_tags IS 'Tags of leads. (A7)';
COMMENT ON COLUMN entrestate.lead_tags.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.lead_tags.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.lead_tags.tag IS 'Tag, lower case, at most 50 characters.';

CREATE TABLE entrestate.lead_imports (
  tenant_id uuid NOT NULL REFERENCES entrestate.tenants,
  import_id uuid NOT NULL,
  source text NOT NULL,
  campaign_id uuid,
  row_count integer NOT NULL,
  imported integer NOT NULL,
  duplicate integer NOT NULL,
  refused integer NOT NULL,
  reasons jsonb NOT NULL,
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, import_id),
  FOREIGN KEY (tenant_id, campaign_id) REFERENCES entrestate.campaigns (tenant_id, campaign_id),
  CHECK (row_count = imported + duplicate + refused)
);
COMMENT ON TABLE entrestate.lead_imports IS 'Imports and what became of their rows. (A7, E2)';
COMMENT ON COLUMN entrestate.lead_imports.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.lead_imports.import_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.lead_imports.source IS 'Source given to its leads.';
COMMENT ON COLUMN entrestate.lead_imports.campaign_id IS 'Campaign given for all rows; NULL: by their attributions.';
COMMENT ON COLUMN entrestate.lead_imports.row_count IS 'Rows: imported + duplicate + refused.';
COMMENT ON COLUMN entrestate.lead_imports.imported IS 'New leads.';
COMMENT ON COLUMN entrestate.lead_imports.duplicate IS 'Rows whose lead was there already, or came earlier in the same import.';
COMMENT ON COLUMN entrestate.lead_imports.refused IS 'Rows that were refused.';
COMMENT ON COLUMN entrestate.lead_imports.reasons IS 'How many rows were refused for which reason.';
COMMENT ON COLUMN entrestate.lead_imports.created_by IS 'Who imported.';
COMMENT ON COLUMN entrestate.lead_imports.created_at IS 'When.';

-- Text search: no grants and no row security, which would keep @@ from the
-- index; lead_search() alone reads it. Every word begins with a key of the
-- tenant, so that a search never meets another tenant's words.
CREATE TABLE entrestate.lead_texts (
  tenant_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  words tsvector NOT NULL,
  PRIMARY KEY (tenant_id, lead_id)
);
CREATE INDEX lead_texts_words ON entrestate.lead_texts USING gin (words);
COMMENT ON TABLE entrestate.lead_texts IS 'The words of each lead''s name, company and addresses, for lead_search(). (A7)';
COMMENT ON COLUMN entrestate.lead_texts.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.lead_texts.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.lead_texts.words IS 'Words without accents, each after the tenant''s key.';

-- No statistics of what tells of a person: the planner's estimates are for
-- everybody.
ALTER TABLE entrestate.leads ALTER full_name SET STATISTICS 0, ALTER company SET STATISTICS 0,
  ALTER idempotency_key SET STATISTICS 0, ALTER custom SET STATISTICS 0;
ALTER TABLE entrestate.lead_contacts ALTER address SET STATISTICS 0, ALTER address_norm SET STATISTICS 0;
ALTER TABLE entrestate.suppressions ALTER address_norm SET STATISTICS 0;
ALTER TABLE entrestate.leads_notes ALTER body SET STATISTICS 0;
ALTER TABLE entrestate.lead_tags ALTER tag SET STATISTICS 0;
ALTER TABLE entrestate.lead_texts ALTER words SET STATISTICS 0;
ALTER TABLE entrestate.unresolved_attributions ALTER attribution SET STATISTICS 0;

SELECT entrestate.protect('leads', 'tenant', 'lead', 'status');
SELECT entrestate.protect('lead_contacts', 'tenant');
SELECT entrestate.protect('past_contacts', 'tenant');
SELECT entrestate.protect('lead_attributions', 'tenant');
SELECT entrestate.protect('unresolved_attributions', 'tenant');
SELECT entrestate.protect('lead_consents', 'tenant');
SELECT entrestate.protect('suppressions', 'tenant');
SELECT entrestate.protect('leads_notes', 'tenant');
SELECT entrestate.protect('lead_tags', 'tenant');
SELECT entrestate.protect('lead_imports', 'tenant');
SELECT entrestate.protect('lead_texts', 'global');
