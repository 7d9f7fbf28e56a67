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
  score integer NOT NULL DEFAULT 0,
  score_at timestamptz,
  hot_at timestamptz,
  replied_at timestamptz,
  opted_out_at timestamptz,
  complained_at timestamptz,
  erasure_requested_at timestamptz,
  merged_into uuid,
  owner_id text,
  time_zone text,
  source text NOT NULL CHECK (char_length(source) BETWEEN 1 AND 40),
  idempotency_key text CHECK (char_length(idempotency_key) BETWEEN 1 AND 255),
  custom jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, lead_id),
  CONSTRAINT leads_idempotency UNIQUE (idempotency_key, tenant_id),
  FOREIGN KEY (tenant_id, campaign_id) REFERENCES entrestate.campaigns (tenant_id, campaign_id),
  FOREIGN KEY (tenant_id, merged_into) REFERENCES entrestate.leads (tenant_id, lead_id)
) WITH (fillfactor = 80);
-- Not the tenant first in what is not the primary key: while a table is small
-- and not analyzed, an index that begins with the tenant looks as good as the
-- primary key, and a plan kept from then (a foreign key's, too) would read a
-- tenant's rows one by one.
CREATE INDEX leads_campaign ON entrestate.leads (campaign_id, tenant_id, updated_at, lead_id);
CREATE INDEX leads_direction ON entrestate.leads (direction, tenant_id, updated_at);
CREATE INDEX leads_merged ON entrestate.leads (merged_into, tenant_id) WHERE merged_into IS NOT NULL;
COMMENT ON TABLE entrestate.leads IS 'Leads: people within a tenant. (A7)';
COMMENT ON COLUMN entrestate.leads.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.leads.lead_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.leads.campaign_id IS 'Campaign of the first attribution; NULL: unresolved.';
COMMENT ON COLUMN entrestate.leads.full_name IS 'Name.';
COMMENT ON COLUMN entrestate.leads.company IS 'Company.';
COMMENT ON COLUMN entrestate.leads.status IS 'Status; transitions() says what follows what.';
COMMENT ON COLUMN entrestate.leads.direction IS 'RISK, READY, WARMING, EXPLORING or NOISE, derived from signals.';
COMMENT ON COLUMN entrestate.leads.score IS 'Weighted sum of intent signals at score_at. (B9)';
COMMENT ON COLUMN entrestate.leads.score_at IS 'Instant of the score.';
COMMENT ON COLUMN entrestate.leads.hot_at IS 'Since when the lead is hot: a latch; NULL: not hot. (B9)';
COMMENT ON COLUMN entrestate.leads.replied_at IS 'Last reply to any message of the tenant.';
COMMENT ON COLUMN entrestate.leads.opted_out_at IS 'Since when the lead is opted out of all channels.';
COMMENT ON COLUMN entrestate.leads.complained_at IS 'When the lead complained.';
COMMENT ON COLUMN entrestate.leads.erasure_requested_at IS 'When the lead asked to be erased.';
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
  FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id)
);
CREATE UNIQUE INDEX lead_contacts_primary ON entrestate.lead_contacts (tenant_id, lead_id, kind) WHERE is_primary;
CREATE INDEX lead_contacts_address ON entrestate.lead_contacts (address_norm, kind, tenant_id);
COMMENT ON TABLE entrestate.lead_contacts IS 'How a lead is reached: email addresses and phone numbers. (A7)';
COMMENT ON COLUMN entrestate.lead_contacts.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.lead_contacts.lead_id IS 'Lead.';
COMMENT ON COLUMN entrestate.lead_contacts.kind IS 'email or phone.';
COMMENT ON COLUMN entrestate.lead_contacts.address_norm IS 'Normalised: email in lower case, phone in E.164.';
COMMENT ON COLUMN entrestate.lead_contacts.address IS 'As given.';
COMMENT ON COLUMN entrestate.lead_contacts.is_primary IS 'The one that the sender uses; one per kind.';
COMMENT ON COLUMN entrestate.lead_contacts.unusable_reason IS 'Why the sender must not use it (a hard bounce); NULL: it may.';
COMMENT ON COLUMN entrestate.lead_contacts.created_at IS 'When it was recorded.';

CREATE TABLE entrestate.lead_attributions (
  tenant_id uuid NOT NULL,
  lead_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  attributed_at timestamptz NOT NULL,
  landing_page text CHECK (char_length(landing_page) <= 2048),
  referrer text CHECK (char_length(referrer) <= 2048),
  utm jsonb NOT NULL DEFAULT '{}',
  click_ids jsonb NOT NULL DEFAULT '{}',
  resolved_by text NOT NULL CHECK (resolved_by IN ('campaign_id', 'form', 'landing_page', 'click_id', 'utm_campaign')),
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
COMMENT ON COLUMN entrestate.lead_attributions.landing_page IS 'Origin landing page: a reference.';
COMMENT ON COLUMN entrestate.lead_attributions.referrer IS 'Referrer.';
COMMENT ON COLUMN entrestate.lead_attributions.utm IS 'utm parameters.';
COMMENT ON COLUMN entrestate.lead_attributions.click_ids IS 'Click ids (gclid, …).';
COMMENT ON COLUMN entrestate.lead_attributions.resolved_by IS 'What named the campaign.';

-- No statistics of what tells of a person: the planner's estimates are for
-- everybody.
ALTER TABLE entrestate.leads ALTER full_name SET STATISTICS 0, ALTER company SET STATISTICS 0,
  ALTER idempotency_key SET STATISTICS 0, ALTER custom SET STATISTICS 0;
ALTER TABLE entrestate.lead_contacts ALTER address SET STATISTICS 0, ALTER address_norm SET STATISTICS 0;

SELECT entrestate.protect('leads', 'tenant', 'lead', 'status');
SELECT entrestate.protect('lead_contacts', 'tenant');
SELECT entrestate.protect('lead_attributions', 'tenant');
