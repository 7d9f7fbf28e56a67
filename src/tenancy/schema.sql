-- tenancy: tenants, their members, and who may do what.

CREATE TABLE entrestate.tenants (
  tenant_id uuid PRIMARY KEY,
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  mode text NOT NULL CHECK (mode IN ('live', 'sandbox')),
  plan text NOT NULL DEFAULT 'free' CHECK (plan IN ('free', 'starter', 'pro', 'enterprise')),
  time_zone text NOT NULL,
  currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  frozen_at timestamptz,
  frozen_reason text,
  paused_at timestamptz,
  paused_reason text,
  dry_run boolean NOT NULL DEFAULT true,
  quiet_hours jsonb,
  country text CHECK (country ~ '^[A-Z]{2}$'),
  opt_out_scope text NOT NULL DEFAULT 'all' CHECK (opt_out_scope IN ('all', 'channel')),
  policy_version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((frozen_at IS NULL) = (frozen_reason IS NULL)),
  CHECK ((paused_at IS NULL) = (paused_reason IS NULL))
) WITH (fillfactor = 80);
COMMENT ON TABLE entrestate.tenants IS 'A tenant (the documents'' workspace): the unit of isolation and of work. (E1)';
COMMENT ON COLUMN entrestate.tenants.tenant_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.tenants.name IS 'Display name, 1 to 100 characters.';
COMMENT ON COLUMN entrestate.tenants.mode IS 'live or sandbox, from the creation and for ever; runs, intents and events carry it.';
COMMENT ON COLUMN entrestate.tenants.plan IS 'free, starter, pro or enterprise.';
COMMENT ON COLUMN entrestate.tenants.time_zone IS 'IANA zone of the tenant''s calendar days.';
COMMENT ON COLUMN entrestate.tenants.currency IS 'ISO 4217 code of the wallet.';
COMMENT ON COLUMN entrestate.tenants.frozen_at IS 'Since when nothing is written or sent for the tenant; NULL: not frozen. (E18)';
COMMENT ON COLUMN entrestate.tenants.frozen_reason IS 'Why it is frozen.';
COMMENT ON COLUMN entrestate.tenants.paused_at IS 'Since when automation is paused; NULL: not paused.';
COMMENT ON COLUMN entrestate.tenants.paused_reason IS 'Why it is paused.';
COMMENT ON COLUMN entrestate.tenants.dry_run IS 'Decisions are rehearsed, nothing is sent. New tenants start so. (C10)';
COMMENT ON COLUMN entrestate.tenants.quiet_hours IS 'Local hours in which nothing is sent; part of the sender''s window.';
COMMENT ON COLUMN entrestate.tenants.country IS 'ISO 3166 code whose rules read national phone numbers; NULL: only international ones are taken. (A7)';
COMMENT ON COLUMN entrestate.tenants.opt_out_scope IS 'What a STOP ends: all channels and the lead''s runs (all), or the addresses of its own channel (channel).';
COMMENT ON COLUMN entrestate.tenants.policy_version IS 'Grows with every change of the tenant''s settings; decisions refer to it.';
COMMENT ON COLUMN entrestate.tenants.created_at IS 'When the tenant was made.';
COMMENT ON COLUMN entrestate.tenants.updated_at IS 'When a setting last changed.';

CREATE TABLE entrestate.tenant_ids (
  tenant_id uuid PRIMARY KEY
);
COMMENT ON TABLE entrestate.tenant_ids IS 'The ids of all tenants. Read across tenants by the workers, which go from tenant to tenant.';
COMMENT ON COLUMN entrestate.tenant_ids.tenant_id IS 'Tenant.';

-- COLLATE "C" on key texts: the context looks rows up past SQL, by the index.
CREATE TABLE entrestate.members (
  tenant_id uuid NOT NULL REFERENCES entrestate.tenants,
  user_id text COLLATE "C" NOT NULL CHECK (octet_length(user_id) BETWEEN 1 AND 255),
  role text COLLATE "C" NOT NULL CHECK (role IN ('owner', 'admin', 'operator', 'closer', 'member', 'viewer')),
  added_by text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, user_id)
);
COMMENT ON TABLE entrestate.members IS 'Who belongs to a tenant, in one role each. (E1, C1)';
COMMENT ON COLUMN entrestate.members.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.members.user_id IS 'The user''s id at the identity provider, as in a token''s sub claim.';
COMMENT ON COLUMN entrestate.members.role IS 'owner, admin, operator, closer, member or viewer; capabilities() says what each may.';
COMMENT ON COLUMN entrestate.members.added_by IS 'Who added the member.';
COMMENT ON COLUMN entrestate.members.created_at IS 'When the member was added.';

CREATE TABLE entrestate.tenant_channels (
  tenant_id uuid NOT NULL REFERENCES entrestate.tenants,
  channel text COLLATE "C" NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
  enabled boolean NOT NULL DEFAULT false,
  paused_at timestamptz,
  paused_reason text,
  daily_limit integer CHECK (daily_limit > 0),
  per_minute integer CHECK (per_minute > 0),
  domain_per_minute integer CHECK (domain_per_minute > 0),
  warmup integer[] CHECK (cardinality(warmup) BETWEEN 1 AND 100) CHECK (0 < ALL (warmup)),
  warmup_from date,
  consent_required boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant_id, channel),
  CHECK (channel = 'email' OR domain_per_minute IS NULL)
) WITH (fillfactor = 80);
COMMENT ON TABLE entrestate.tenant_channels IS 'The channel toggles: new tenants start with every channel off. (C10)';
COMMENT ON COLUMN entrestate.tenant_channels.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.tenant_channels.channel IS 'email, sms or whatsapp.';
COMMENT ON COLUMN entrestate.tenant_channels.enabled IS 'Whether steps of this channel may be sent; when not, they are skipped (channel_disabled).';
COMMENT ON COLUMN entrestate.tenant_channels.paused_at IS 'Since when the channel is held (channel_paused); NULL: not paused.';
COMMENT ON COLUMN entrestate.tenant_channels.paused_reason IS 'Why it is paused.';
COMMENT ON COLUMN entrestate.tenant_channels.daily_limit IS 'Sends per calendar day of the tenant; NULL: no limit of its own.';
COMMENT ON COLUMN entrestate.tenant_channels.per_minute IS 'Sends per minute; NULL: no rate of its own.';
COMMENT ON COLUMN entrestate.tenant_channels.domain_per_minute IS 'Emails per minute to addresses of one domain; NULL: no such rate.';
COMMENT ON COLUMN entrestate.tenant_channels.warmup IS 'Warm-up curve: the most sends of its first, second, ... day; NULL: none.';
COMMENT ON COLUMN entrestate.tenant_channels.warmup_from IS 'First day of the warm-up.';
COMMENT ON COLUMN entrestate.tenant_channels.consent_required IS 'Whether a lead must have granted consent (no_consent); one that withdrew it is never written to.';

CREATE TABLE entrestate.role_capabilities (
  role text COLLATE "C" NOT NULL,
  capability text COLLATE "C" NOT NULL,
  PRIMARY KEY (role, capability)
);
COMMENT ON TABLE entrestate.role_capabilities IS 'Which role within a tenant has which capability. (C1, E1)';
COMMENT ON COLUMN entrestate.role_capabilities.role IS 'Role within the tenant.';
COMMENT ON COLUMN entrestate.role_capabilities.capability IS 'Capability: <noun>.<verb>; those that end in .read, lead.restrain and delivery.report are allowed while the tenant is frozen.';

-- Each capability with the roles that have it: the union of the documents'
-- matrices (docs/decisions.md).
INSERT INTO entrestate.role_capabilities (role, capability)
SELECT r, c.capability FROM (VALUES
  ('tenant.read',      '{owner,admin,operator,closer,member,viewer}'::text[]),
  ('tenant.update',    '{owner,admin}'),
  ('tenant.freeze',    '{owner}'),
  ('tenant.transfer',  '{owner}'),
  ('billing.manage',   '{owner}'),
  ('members.read',     '{owner,admin,operator,closer,member,viewer}'),
  ('members.manage',   '{owner,admin}'),
  ('members.contact',  '{owner,admin,operator,closer,member,viewer}'),
  ('safety.manage',    '{owner,admin}'),
  ('audit.read',       '{owner,admin}'),
  ('activity.read',    '{owner,admin,operator,closer,member,viewer}'),
  ('campaign.read',    '{owner,admin,operator,closer,member,viewer}'),
  ('campaign.create',  '{owner,admin,operator,member}'),
  ('campaign.manage',  '{owner,admin,operator,member}'),
  ('lead.read',        '{owner,admin,operator,closer,member,viewer}'),
  ('lead.create',      '{owner,admin,operator,closer,member}'),
  ('lead.update',      '{owner,admin,operator,closer,member}'),
  ('lead.import',      '{owner,admin,operator,member}'),
  ('lead.merge',       '{owner,admin,operator}'),
  ('lead.grade',       '{owner,admin}'),
  ('lead.restrain',    '{owner,admin,operator,closer,member}'),
  ('lead.cool',        '{owner,admin,closer}'),
  ('agent.read',       '{owner,admin,operator,closer,member,viewer}'),
  ('agent.manage',     '{owner,admin,operator}'),
  ('audience.read',    '{owner,admin,operator,closer,member,viewer}'),
  ('audience.signal',  '{owner,admin,operator,closer,member}'),
  ('audience.manage',  '{owner,admin}'),
  ('handoff.read',     '{owner,admin,operator,closer,member,viewer}'),
  ('handoff.open',     '{owner,admin,operator,closer,member}'),
  ('handoff.take',     '{owner,admin,operator,closer}'),
  ('sequence.manage',  '{owner,admin,operator,member}'),
  ('template.manage',  '{owner,admin,operator,member}'),
  ('template.approve', '{owner,admin}'),
  ('sender.read',      '{owner,admin,operator,closer,member,viewer}'),
  ('sender.operate',   '{owner,admin,operator}'),
  ('delivery.report',  '{owner,admin,operator,member}'),
  ('sandbox.manage',   '{owner,admin,operator}')
) AS c(capability, roles), unnest(c.roles) AS r;

SELECT entrestate.protect('tenants', 'tenant');
SELECT entrestate.protect('tenant_ids', 'global');
SELECT entrestate.protect('members', 'tenant');
SELECT entrestate.protect('tenant_channels', 'tenant');
SELECT entrestate.protect('role_capabilities', 'catalog');
