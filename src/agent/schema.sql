-- agent: how the agent of a campaign behaves, and what the sender obeys. (A9)

CREATE TABLE entrestate.campaign_agent_settings (
  tenant_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  behaviour jsonb NOT NULL DEFAULT '{}',
  windows jsonb NOT NULL DEFAULT '[]',
  caps jsonb NOT NULL DEFAULT '[]',
  channels text[] NOT NULL DEFAULT '{email,sms,whatsapp}',
  updated_by text NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, campaign_id),
  FOREIGN KEY (tenant_id, campaign_id) REFERENCES entrestate.campaigns (tenant_id, campaign_id)
);
COMMENT ON TABLE entrestate.campaign_agent_settings IS 'Agent settings of a campaign: behaviour bars and contact rules. Their history is in policy_snapshots. (A9)';
COMMENT ON COLUMN entrestate.campaign_agent_settings.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.campaign_agent_settings.campaign_id IS 'Campaign.';
COMMENT ON COLUMN entrestate.campaign_agent_settings.behaviour IS 'Bars: {name: 0 to 100}.';
COMMENT ON COLUMN entrestate.campaign_agent_settings.windows IS 'When the lead may be written to: [{days, from, to}] in local time; empty: always. (A9)';
COMMENT ON COLUMN entrestate.campaign_agent_settings.caps IS 'How often: [{max, per, channel?}], rolling. (A9)';
COMMENT ON COLUMN entrestate.campaign_agent_settings.channels IS 'Channels that the campaign uses. (A9)';
COMMENT ON COLUMN entrestate.campaign_agent_settings.updated_by IS 'Who changed it last.';
COMMENT ON COLUMN entrestate.campaign_agent_settings.updated_at IS 'When.';

-- What decisions were made by: one row per version, never changed.
CREATE TABLE entrestate.policy_snapshots (
  tenant_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  version integer NOT NULL,
  policy jsonb NOT NULL,
  taken_by text NOT NULL,
  taken_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, campaign_id, version),
  FOREIGN KEY (tenant_id, campaign_id) REFERENCES entrestate.campaigns (tenant_id, campaign_id)
);
COMMENT ON TABLE entrestate.policy_snapshots IS 'Every version of a campaign''s policy (the tenant''s, the campaign''s and its agent''s settings together); decisions refer to (campaign, version). (A9)';
COMMENT ON COLUMN entrestate.policy_snapshots.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.policy_snapshots.campaign_id IS 'Campaign.';
COMMENT ON COLUMN entrestate.policy_snapshots.version IS 'campaigns.policy_version while it was in force.';
COMMENT ON COLUMN entrestate.policy_snapshots.policy IS 'The settings, as policy_current() had them.';
COMMENT ON COLUMN entrestate.policy_snapshots.taken_by IS 'Who made the change.';
COMMENT ON COLUMN entrestate.policy_snapshots.taken_at IS 'When.';

SELECT entrestate.protect('campaign_agent_settings', 'tenant');
SELECT entrestate.protect('policy_snapshots', 'derived');
