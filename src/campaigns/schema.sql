-- campaigns: the spine. (A4)

CREATE TABLE entrestate.campaigns (
  tenant_id uuid NOT NULL REFERENCES entrestate.tenants,
  campaign_id uuid NOT NULL,
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  intent text NOT NULL DEFAULT 'general' CHECK (char_length(intent) BETWEEN 1 AND 40),
  status text NOT NULL DEFAULT 'draft'
    CHECK (status IN ('draft', 'active', 'paused', 'completed', 'archived')),
  paused_reason text,
  risk_paused_at timestamptz,
  risk_paused_reason text,
  sender_enabled boolean NOT NULL DEFAULT false,
  dry_run boolean NOT NULL DEFAULT false,
  brake_index smallint NOT NULL DEFAULT 1 CHECK (brake_index IN (0, 1)),
  hot_threshold integer CHECK (hot_threshold > 0),
  warming_threshold integer CHECK (warming_threshold > 0),
  rising_deferrals smallint NOT NULL DEFAULT 1 CHECK (rising_deferrals BETWEEN 0 AND 3),
  max_lateness interval CHECK (max_lateness > '0'),
  backfill timestamptz,
  runs_on_import boolean NOT NULL DEFAULT false,
  per_minute integer CHECK (per_minute > 0),
  landing jsonb NOT NULL DEFAULT '{}',
  bindings jsonb NOT NULL DEFAULT '{}',
  sender_ready_at timestamptz,
  sender_ready_epoch smallint,
  sender_ready_snapshot pg_snapshot,
  policy_version integer NOT NULL DEFAULT 1,
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, campaign_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE entrestate.campaigns IS 'Campaigns: every output carries a campaign''s id. (A4)';
COMMENT ON COLUMN entrestate.campaigns.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.campaigns.campaign_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.campaigns.name IS 'Name, 1 to 100 characters.';
COMMENT ON COLUMN entrestate.campaigns.intent IS 'investor, end_user or any other word: the tone of smart setup. (B12)';
COMMENT ON COLUMN entrestate.campaigns.status IS 'draft, active, paused, completed or archived; transitions() says what follows what.';
COMMENT ON COLUMN entrestate.campaigns.paused_reason IS 'Why it is paused.';
COMMENT ON COLUMN entrestate.campaigns.risk_paused_at IS 'Since when risk control holds it; NULL: it does not. (A11)';
COMMENT ON COLUMN entrestate.campaigns.risk_paused_reason IS 'Why risk control holds it.';
COMMENT ON COLUMN entrestate.campaigns.sender_enabled IS 'Whether the sender works for this campaign. (B13)';
COMMENT ON COLUMN entrestate.campaigns.dry_run IS 'Rehearse this campaign even where the tenant sends.';
COMMENT ON COLUMN entrestate.campaigns.brake_index IS 'Step index from which a hot lead ends the run: 1, or 0 to brake earlier. (B10)';
COMMENT ON COLUMN entrestate.campaigns.hot_threshold IS 'Score at which a lead is hot, when lower than the tenant''s; NULL: the tenant''s. (B9)';
COMMENT ON COLUMN entrestate.campaigns.warming_threshold IS 'Score at which steps are deferred; NULL: the tenant''s.';
COMMENT ON COLUMN entrestate.campaigns.rising_deferrals IS 'How often a step is put off for rising intent: 0 to 3.';
COMMENT ON COLUMN entrestate.campaigns.max_lateness IS 'A step later than this after it was first due is skipped (too_late); NULL: 7 days.';
COMMENT ON COLUMN entrestate.campaigns.backfill IS 'Leads attributed since then get runs when the campaign''s sender starts; NULL: none.';
COMMENT ON COLUMN entrestate.campaigns.runs_on_import IS 'Whether imported leads get runs. (B8)';
COMMENT ON COLUMN entrestate.campaigns.per_minute IS 'Sends per minute of this campaign; NULL: no limit of its own.';
COMMENT ON COLUMN entrestate.campaigns.landing IS 'Landing page: references. (A4)';
COMMENT ON COLUMN entrestate.campaigns.bindings IS 'Forms, landing pages, click ids and utm_campaign values that lead here. (A4, B8)';
COMMENT ON COLUMN entrestate.campaigns.sender_ready_at IS 'Since when its sender can start runs: active, enabled, with a published sequence; NULL: it cannot. (B8)';
COMMENT ON COLUMN entrestate.campaigns.sender_ready_epoch IS 'Epoch of sender_ready_snapshot.';
COMMENT ON COLUMN entrestate.campaigns.sender_ready_snapshot IS 'What was visible then: an attribution that was not, and did not see the campaign able, was missed by a race, and upkeep starts its run.';
COMMENT ON COLUMN entrestate.campaigns.policy_version IS 'Version of its policy snapshot: grows with every change of the campaign''s or the tenant''s settings; decisions refer to it.';
COMMENT ON COLUMN entrestate.campaigns.created_by IS 'Who made it.';
COMMENT ON COLUMN entrestate.campaigns.created_at IS 'When it was made.';
COMMENT ON COLUMN entrestate.campaigns.updated_at IS 'When it last changed.';

SELECT entrestate.protect('campaigns', 'tenant', 'campaign', 'status');

-- What leads to a campaign, from its bindings, so that a look-up is by key.
CREATE TABLE entrestate.campaign_bindings (
  tenant_id uuid NOT NULL,
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('form', 'landing_page', 'click_id', 'utm_campaign')),
  value text COLLATE "C" NOT NULL CHECK (octet_length(value) BETWEEN 1 AND 2048),
  campaign_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, kind, value, campaign_id),
  FOREIGN KEY (tenant_id, campaign_id) REFERENCES entrestate.campaigns (tenant_id, campaign_id)
);
CREATE INDEX campaign_bindings_campaign ON entrestate.campaign_bindings (campaign_id, tenant_id);
COMMENT ON TABLE entrestate.campaign_bindings IS 'The values of campaigns.bindings, one a row: what an attribution is resolved by. (A4, B8)';
COMMENT ON COLUMN entrestate.campaign_bindings.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.campaign_bindings.kind IS 'form, landing_page, click_id or utm_campaign.';
COMMENT ON COLUMN entrestate.campaign_bindings.value IS 'Normalised: binding_normalise().';
COMMENT ON COLUMN entrestate.campaign_bindings.campaign_id IS 'Campaign it leads to; one value may be bound by several, and is then ambiguous.';

SELECT entrestate.protect('campaign_bindings', 'tenant');
