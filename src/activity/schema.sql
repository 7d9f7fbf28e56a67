-- activity: the feed, the audit logs, epochs, ticks and consumers.

CREATE TABLE entrestate.epochs (
  epoch smallint PRIMARY KEY,
  system_identifier bigint NOT NULL,
  opened_at timestamptz NOT NULL
);
COMMENT ON TABLE entrestate.epochs IS 'Which cluster''s transaction ids events carry: a new epoch opens when the cluster''s system identifier changes.';
COMMENT ON COLUMN entrestate.epochs.epoch IS 'Number, from 1.';
COMMENT ON COLUMN entrestate.epochs.system_identifier IS 'The cluster''s, as in pg_control_system().';
COMMENT ON COLUMN entrestate.epochs.opened_at IS 'When the first writer came.';

CREATE TABLE entrestate.ticks (
  tick_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  epoch smallint NOT NULL,
  snapshot pg_snapshot NOT NULL,
  ticked_at timestamptz NOT NULL
);
COMMENT ON TABLE entrestate.ticks IS 'Snapshots between which consumers read. (C12)';
COMMENT ON COLUMN entrestate.ticks.tick_id IS 'Order of the ticks.';
COMMENT ON COLUMN entrestate.ticks.epoch IS 'Epoch of the snapshot''s transaction ids.';
COMMENT ON COLUMN entrestate.ticks.snapshot IS 'What was visible at the tick.';
COMMENT ON COLUMN entrestate.ticks.ticked_at IS 'When, by the real clock.';

CREATE TABLE entrestate.consumers (
  name text COLLATE "C" PRIMARY KEY,
  tick_id bigint,
  finished_epoch smallint,
  created_at timestamptz NOT NULL,
  updated_at timestamptz
);
COMMENT ON TABLE entrestate.consumers IS 'How far each consumer of the event tables has read. (C12, D17)';
COMMENT ON COLUMN entrestate.consumers.name IS 'The consumer''s name.';
COMMENT ON COLUMN entrestate.consumers.tick_id IS 'Last tick consumed; NULL: none yet.';
COMMENT ON COLUMN entrestate.consumers.finished_epoch IS 'Last closed epoch that was consumed to its end.';
COMMENT ON COLUMN entrestate.consumers.created_at IS 'When it was registered.';
COMMENT ON COLUMN entrestate.consumers.updated_at IS 'When it last finished a batch.';

SELECT entrestate.protect('epochs', 'global');
SELECT entrestate.protect('ticks', 'global');
SELECT entrestate.protect('consumers', 'global');

CREATE TABLE entrestate.activity_events (
  tenant_id uuid NOT NULL,
  recorded_at timestamptz NOT NULL,
  id uuid NOT NULL,
  type text NOT NULL CHECK (type ~ '^[a-z][a-z_]*(\.[a-z][a-z_]*)+$' AND octet_length(type) <= 80),
  entity_type text NOT NULL CHECK (octet_length(entity_type) <= 40),
  entity_id text NOT NULL CHECK (octet_length(entity_id) <= 255),
  task_id uuid,
  campaign_id uuid,
  actor text NOT NULL,
  payload jsonb NOT NULL CHECK (pg_column_size(payload) <= 16384),
  epoch smallint NOT NULL DEFAULT entrestate.event_epoch(),
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (tenant_id, recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX activity_events_consumer ON entrestate.activity_events (epoch, txid);
CREATE INDEX activity_events_campaign ON entrestate.activity_events (campaign_id, tenant_id, recorded_at, id)
  WHERE campaign_id IS NOT NULL;
COMMENT ON TABLE entrestate.activity_events IS 'The feed: what happened, in mission control''s envelope. Append-only. (C12, C13)';
COMMENT ON COLUMN entrestate.activity_events.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.activity_events.recorded_at IS 'When it was recorded (the envelope''s timestamp); names the partition.';
COMMENT ON COLUMN entrestate.activity_events.id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.activity_events.type IS 'Event type, such as campaign.created.';
COMMENT ON COLUMN entrestate.activity_events.entity_type IS 'Kind of the thing it happened to.';
COMMENT ON COLUMN entrestate.activity_events.entity_id IS 'Its id.';
COMMENT ON COLUMN entrestate.activity_events.task_id IS 'Task of the task board, if any.';
COMMENT ON COLUMN entrestate.activity_events.campaign_id IS 'Campaign, if any.';
COMMENT ON COLUMN entrestate.activity_events.actor IS 'Who did it: a user''s id, role:<name>, or system.';
COMMENT ON COLUMN entrestate.activity_events.payload IS 'References and counts, never personal data.';
COMMENT ON COLUMN entrestate.activity_events.epoch IS 'Epoch of txid.';
COMMENT ON COLUMN entrestate.activity_events.txid IS 'Transaction that wrote it, for consumers.';

CREATE TABLE entrestate.audit_log (
  tenant_id uuid NOT NULL,
  recorded_at timestamptz NOT NULL,
  id uuid NOT NULL,
  action text NOT NULL CHECK (octet_length(action) <= 80),
  actor text NOT NULL,
  member_role text NOT NULL,
  login_role text NOT NULL,
  target_type text NOT NULL CHECK (octet_length(target_type) <= 40),
  target_id text NOT NULL CHECK (octet_length(target_id) <= 255),
  detail jsonb NOT NULL CHECK (pg_column_size(detail) <= 16384),
  epoch smallint NOT NULL DEFAULT entrestate.event_epoch(),
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (tenant_id, recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX audit_log_consumer ON entrestate.audit_log (epoch, txid);
COMMENT ON TABLE entrestate.audit_log IS 'Who did what. Append-only. (C11, E10)';
COMMENT ON COLUMN entrestate.audit_log.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.audit_log.recorded_at IS 'When; names the partition.';
COMMENT ON COLUMN entrestate.audit_log.id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.audit_log.action IS 'What was done, such as member.add.';
COMMENT ON COLUMN entrestate.audit_log.actor IS 'Who did it: a user''s id, role:<name>, or system.';
COMMENT ON COLUMN entrestate.audit_log.member_role IS 'The actor''s role within the tenant at that time.';
COMMENT ON COLUMN entrestate.audit_log.login_role IS 'The database login it came through.';
COMMENT ON COLUMN entrestate.audit_log.target_type IS 'Kind of the thing it was done to.';
COMMENT ON COLUMN entrestate.audit_log.target_id IS 'Its id.';
COMMENT ON COLUMN entrestate.audit_log.detail IS 'References and settings, never personal data.';
COMMENT ON COLUMN entrestate.audit_log.epoch IS 'Epoch of txid.';
COMMENT ON COLUMN entrestate.audit_log.txid IS 'Transaction that wrote it, for consumers.';

CREATE TABLE entrestate.login_audit (
  tenant_id uuid NOT NULL,
  recorded_at timestamptz NOT NULL,
  id uuid NOT NULL,
  user_id text NOT NULL,
  event text NOT NULL,
  method text,
  network cidr,
  epoch smallint NOT NULL DEFAULT entrestate.event_epoch(),
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (tenant_id, recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX login_audit_consumer ON entrestate.login_audit (epoch, txid);
COMMENT ON TABLE entrestate.login_audit IS 'Sign-in events of the gateway. Append-only. (E10)';
COMMENT ON COLUMN entrestate.login_audit.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.login_audit.recorded_at IS 'When; names the partition.';
COMMENT ON COLUMN entrestate.login_audit.id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.login_audit.user_id IS 'The user''s id at the identity provider.';
COMMENT ON COLUMN entrestate.login_audit.event IS 'One of login_event_types().';
COMMENT ON COLUMN entrestate.login_audit.method IS 'How: password, sso, …';
COMMENT ON COLUMN entrestate.login_audit.network IS 'Network of the address (/24 or /48).';
COMMENT ON COLUMN entrestate.login_audit.epoch IS 'Epoch of txid.';
COMMENT ON COLUMN entrestate.login_audit.txid IS 'Transaction that wrote it, for consumers.';

-- user_id '': for whoever works on leads, and read for all when one has read it.
CREATE TABLE entrestate.notifications (
  tenant_id uuid NOT NULL REFERENCES entrestate.tenants,
  notification_id uuid NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  type text NOT NULL CHECK (octet_length(type) <= 80),
  entity_type text NOT NULL CHECK (octet_length(entity_type) <= 40),
  entity_id text NOT NULL CHECK (octet_length(entity_id) <= 255),
  campaign_id uuid,
  created_at timestamptz NOT NULL,
  read_at timestamptz,
  read_by text,
  PRIMARY KEY (tenant_id, notification_id)
) WITH (fillfactor = 80);
CREATE INDEX notifications_user ON entrestate.notifications (user_id, tenant_id, notification_id);
CREATE INDEX notifications_unread ON entrestate.notifications (user_id, tenant_id, notification_id) WHERE read_at IS NULL;
COMMENT ON TABLE entrestate.notifications IS 'What a person should look at; tick() wakes who listens. (E9)';
COMMENT ON COLUMN entrestate.notifications.tenant_id IS 'Tenant.';
COMMENT ON COLUMN entrestate.notifications.notification_id IS 'Id, a time-ordered UUID.';
COMMENT ON COLUMN entrestate.notifications.user_id IS 'Member it is for; empty: whoever works on leads.';
COMMENT ON COLUMN entrestate.notifications.type IS 'What happened, such as handoff.opened.';
COMMENT ON COLUMN entrestate.notifications.entity_type IS 'Kind of the thing it happened to.';
COMMENT ON COLUMN entrestate.notifications.entity_id IS 'Its id.';
COMMENT ON COLUMN entrestate.notifications.campaign_id IS 'Campaign, if any.';
COMMENT ON COLUMN entrestate.notifications.created_at IS 'When.';
COMMENT ON COLUMN entrestate.notifications.read_at IS 'When it was read; NULL: unread.';
COMMENT ON COLUMN entrestate.notifications.read_by IS 'Who read it.';

SELECT entrestate.protect('activity_events', 'events', by_month => true);
SELECT entrestate.protect('audit_log', 'events', by_month => true);
SELECT entrestate.protect('login_audit', 'events', by_month => true);
SELECT entrestate.protect('notifications', 'tenant');
