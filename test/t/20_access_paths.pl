# Every access path, as an application role with a context: no sequential scan of a table that
# grows, and a page costs a page. The paths are the index lines of the feed map (section D), what
# applications ask beside them, and every statement inside entrestate's functions and processor.
#
# ENTRESTATE_ROWS=1000000 makes it a million rows (some minutes); the default is for every day.
use strict;
use warnings;
use FindBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = $ENV{ENTRESTATE_ROWS} || 100_000;
my $clock = '2026-03-01T12:00:00Z';

my $node = PostgreSQL::Test::Cluster->new('paths');
$node->init;
# no autovacuum: the log is what the test's own statements write
$node->append_conf('postgresql.conf', <<"CONF");
fsync = off
shared_buffers = 256MB
max_wal_size = 4GB
autovacuum = off
lc_messages = 'C'
log_statement = none
session_preload_libraries = 'auto_explain'
auto_explain.log_format = json
auto_explain.log_nested_statements = on
auto_explain.log_analyze = on
auto_explain.log_timing = off
auto_explain.log_buffers = on
CONF
$node->start;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION entrestate; SELECT entrestate.migrate()');
$node->command_ok(
  [ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-v', "rows=$rows", '-v', 'all=1', '-f', "$FindBin::Bin/../bench/dataset.sql" ],
  "$rows rows");
# What leads and people did with these: in the rooms that came after the data set, as many rows again.
$node->safe_psql('postgres', <<"SQL");
CREATE VIEW data.leads AS SELECT i, t.n, t.tenant_id, c.campaign_id, data.lead(i) AS lead_id, data.at(i, $rows) AS at
FROM generate_series(0, ($rows - 1)::bigint) i
JOIN data.tenants t ON t.n = data.tenant_of(i) JOIN data.campaigns c ON c.n = t.n AND c.k = i / 7 % t.campaigns;
CREATE PROCEDURE data.guards_of_all(doing text) LANGUAGE plpgsql AS \$\$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' AND doing = 'DISABLE' LOOP
    EXECUTE format('ALTER EVENT TRIGGER %I DISABLE', r.evtname);
  END LOOP;
  FOR r IN SELECT tgrelid::regclass AS t FROM pg_trigger WHERE tgname = 'guard_system_only' AND tgparentid = 0 LOOP
    EXECUTE format('ALTER TABLE %s %s TRIGGER guard_system_only', r.t, doing);
  END LOOP;
  FOR r IN SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' AND doing <> 'DISABLE' LOOP
    EXECUTE format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', r.evtname);
  END LOOP;
END
\$\$;
CALL data.guards_of_all('DISABLE');
SET session_replication_role = replica;
SET synchronous_commit = off;
UPDATE entrestate.leads l SET status = CASE WHEN r.i % 100 = 7 THEN 'booked' ELSE 'contacted' END,
  owner_id = CASE WHEN r.i % 40 = 7 THEN 'owner' END
FROM data.leads r WHERE r.i % 10 = 7 AND l.tenant_id = r.tenant_id AND l.lead_id = r.lead_id;
INSERT INTO entrestate.lead_texts SELECT tenant_id, lead_id, entrestate.search_vector(tenant_id,
  entrestate.search_words(format('Person %s Company %s person.%s\@example.com', i, i % 1000, i))) FROM data.leads;
INSERT INTO entrestate.intent_signals (tenant_id, lead_id, recorded_at, signal_no, occurred_at, kind, txid, score, settings_version, counted, hot)
SELECT r.tenant_id, r.lead_id, data.at(e, $rows), e - r.i + 1, data.at(e, $rows), 1 + e % 3, data.txid(e, $rows), 5, 0, true, false
FROM data.leads r CROSS JOIN generate_series(r.i, r.i + 3) e WHERE r.i % 4 = 0 ORDER BY e;
-- what is older than 30 days is due, but for the oldest, which were dealt with
INSERT INTO entrestate.lead_scores (tenant_id, lead_id, score, score_at, settings_version, last_signal_at, expires_at, signal_count, counted_kinds, counted_at, seen)
SELECT tenant_id, lead_id, 4, at, 0, at, CASE WHEN at > '2026-01-29' THEN at + interval '30 days' END, 4, '{1}', ARRAY[at], '{1,2}' FROM data.leads WHERE i % 4 = 0;
INSERT INTO entrestate.audience_actions (tenant_id, recorded_at, id, type, campaign_id, lead_id, txid)
SELECT tenant_id, at, entrestate.uuid_v7(), 'sender.suppressed_hot', campaign_id, lead_id, data.txid(i, $rows) FROM data.leads WHERE i % 2 = 0;
INSERT INTO entrestate.handoff_tickets (tenant_id, ticket_id, lead_id, campaign_id, status, reason, opened_by, opened_at, taken_by, taken_at, resolved_at)
SELECT tenant_id, entrestate.uuid_v7(), lead_id, campaign_id, s, 'hot', 'system', at, CASE WHEN s = 'taken' THEN 'owner' END, at, CASE WHEN s = 'resolved' THEN at END
FROM (SELECT *, CASE WHEN i % 120 = 0 THEN 'open' WHEN i % 120 = 4 THEN 'taken' ELSE 'resolved' END AS s FROM data.leads WHERE i % 4 = 0) r;
INSERT INTO entrestate.notifications (tenant_id, notification_id, user_id, type, entity_type, entity_id, created_at, read_at)
SELECT tenant_id, entrestate.uuid_v7(), CASE i % 3 WHEN 0 THEN 'owner' WHEN 1 THEN 'somebody' ELSE '' END, 'lead.hot', 'lead', lead_id::text, at,
  CASE WHEN i % 50 > 0 THEN at END FROM data.leads ORDER BY i;
INSERT INTO entrestate.leads_notes SELECT tenant_id, lead_id, entrestate.uuid_v7(), 'A note', 'owner', at FROM data.leads, generate_series(1, 2) WHERE i % 4 = 0;
INSERT INTO entrestate.lead_tags SELECT tenant_id, lead_id, t FROM data.leads CROSS JOIN LATERAL unnest(ARRAY['common', 'tag ' || i % 97]) t WHERE i % 2 = 0;
INSERT INTO entrestate.lead_consents SELECT tenant_id, lead_id, 'email', at, 'granted', 'form', at FROM data.leads WHERE i % 2 = 0;
INSERT INTO entrestate.suppressions (tenant_id, channel, address_norm, reason, created_by, created_at)
SELECT tenant_id, 'email', 'gone.' || i || '\@example.com', 'opt_out', 'owner', at FROM data.leads WHERE i % 4 = 0;
INSERT INTO entrestate.unresolved_attributions (tenant_id, attribution_id, lead_id, attribution, reason, created_at, settled_at)
SELECT tenant_id, entrestate.uuid_v7(), lead_id, jsonb_build_object('form', 'nowhere ' || i), 'unresolved', at, CASE WHEN i % 40 > 0 THEN at END
FROM data.leads WHERE i % 4 = 0 ORDER BY i;
INSERT INTO entrestate.campaign_bindings (tenant_id, kind, value, campaign_id)
SELECT tenant_id, k, k || ' ' || i, campaign_id FROM data.leads CROSS JOIN unnest('{form,landing_page,click_id,utm_campaign}'::text[]) k WHERE i % 20 = 0;
INSERT INTO entrestate.lead_imports (tenant_id, import_id, source, row_count, imported, duplicate, refused, reasons, created_by, created_at)
SELECT tenant_id, data.lead(i), 'import', 1, 1, 0, 0, '{}', 'owner', at FROM data.leads WHERE i % 10 = 0;
INSERT INTO entrestate.policy_snapshots (tenant_id, campaign_id, version, policy, taken_by, taken_at)
SELECT tenant_id, campaign_id, -v, '{}', 'owner', '2026-01-01' FROM (SELECT DISTINCT tenant_id, campaign_id FROM data.leads) c, generate_series(1, $rows / 250) v;
-- what the sandbox will report some day
INSERT INTO entrestate.sandbox_callbacks (tenant_id, due_at, draw, campaign_id, lead_id, step, attempt, what)
SELECT tenant_id, '2027-01-01'::timestamptz + i * interval '1 second', i, campaign_id, lead_id, 0, 0, 'opened' FROM data.leads WHERE i % 4 = 1;
-- tests that were sent long ago, and addresses of many members
INSERT INTO entrestate.sender_tests (tenant_id, test_id, campaign_id, version, step, template_id, template_version, channel, user_id, mode, status, requested_by, created_at, final_at)
SELECT tenant_id, entrestate.uuid_v7(), campaign_id, 1, 0, lead_id, 1, 'email', 'owner', 'sandbox', 'sent', 'owner', '2026-01-01'::timestamptz + i * interval '1 second', '2026-01-02' FROM data.leads WHERE i % 4 = 0 ORDER BY i;
INSERT INTO entrestate.member_contacts (tenant_id, user_id, kind, address, address_norm, set_by, set_at)
SELECT tenant_id, 'user ' || i, 'email', address, address, 'owner', at FROM (SELECT *, 'user.' || i || '\@example.org' AS address FROM data.leads) l WHERE i % 20 = 0;
-- a step that can be retried
INSERT INTO entrestate.sender_events (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, step, attempt, mode, channel, decided_at, sequence_version)
SELECT tenant_id, lead_id, '2026-02-20', campaign_id, (SELECT code FROM entrestate.sender_event_types() WHERE name = 'sender.step.skipped'), 5, 0, 0, 2, 1, '2026-02-20', 1
FROM data.leads WHERE n = 1 AND i % 20 = 4 ORDER BY i LIMIT 1;
RESET session_replication_role;
CALL data.guards_of_all('ENABLE ALWAYS');
VACUUM ANALYZE;
SQL
is($node->safe_psql('postgres', 'SELECT * FROM entrestate.isolation_prove()'), '', 'every guard is in its place');
$node->safe_psql('postgres', <<"SQL");
CREATE ROLE path_app LOGIN IN ROLE entrestate_app, entrestate_authenticator;
CREATE ROLE path_auditor LOGIN IN ROLE entrestate_auditor;
GRANT USAGE ON SCHEMA data TO path_app;
ALTER DATABASE postgres SET entrestate.clock = '$clock';
ALTER ROLE path_app SET auto_explain.log_min_duration = 0;
ALTER ROLE path_auditor SET auto_explain.log_min_duration = 0;
ALTER ROLE entrestate_worker SET auto_explain.log_min_duration = 0;
SQL

# Tables that grow, and partitions with something in them.
my %big = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', <<"SQL");
SELECT relname FROM pg_class
WHERE relnamespace = 'entrestate'::regnamespace AND relkind = 'r' AND reltuples > $rows / 50
SQL
cmp_ok(scalar(keys %big), '>', 12, 'there are tables that grow');

# What the statements are about, in the largest tenant; lead 0 has events.
my %v;
@v{qw(t campaign template lead seq)} = split /\|/, $node->safe_psql('postgres', <<"SQL");
SELECT t.tenant_id, c.campaign_id, m.template_id, e.lead_id, e.recorded_at
FROM data.tenants t JOIN data.campaigns c USING (n) JOIN data.templates m USING (n)
JOIN entrestate.sender_events e USING (tenant_id, campaign_id)
WHERE t.n = 1 AND e.run_seq = 1 AND e.recorded_at > '2026-02-01' ORDER BY c.k, e.recorded_at LIMIT 1
SQL
$v{lead2} = $node->safe_psql('postgres', "SELECT lead_id FROM entrestate.leads WHERE tenant_id = '$v{t}' LIMIT 1");
$v{lead3} = $node->safe_psql('postgres', "SELECT lead_id FROM data.leads WHERE n = 1 AND i % 4 = 0 AND i % 120 > 4 AND at > '2026-02-10' ORDER BY i LIMIT 1");
$v{lead4} = $node->safe_psql('postgres', "SELECT lead_id FROM data.leads WHERE n = 1 AND i % 4 = 1 ORDER BY i LIMIT 1");
$v{ticket} = $node->safe_psql('postgres', "SELECT ticket_id FROM entrestate.handoff_tickets WHERE tenant_id = '$v{t}' AND status = 'open' ORDER BY ticket_id LIMIT 1");
$v{import} = $node->safe_psql('postgres', "SELECT import_id FROM entrestate.lead_imports WHERE tenant_id = '$v{t}' LIMIT 1");
$v{person} = 'Person ' . $node->safe_psql('postgres', "SELECT substr(full_name, 8) FROM entrestate.leads WHERE lead_id = '$v{lead}'");
$v{address} = 'person.' . substr($v{person}, 7) . '@example.com';
($v{form}, $v{gone}, $v{notice}) = map { $node->safe_psql('postgres', $_) } "SELECT max(value) FROM entrestate.campaign_bindings WHERE tenant_id = '$v{t}' AND kind = 'form'",
  "SELECT max(address_norm) FROM entrestate.suppressions WHERE tenant_id = '$v{t}'",
  "SELECT notification_id FROM entrestate.notifications WHERE tenant_id = '$v{t}' AND user_id = 'owner' AND read_at IS NULL LIMIT 1";
@v{qw(skipped skipped_campaign)} = split /\|/, $node->safe_psql('postgres', "SELECT lead_id, campaign_id FROM data.leads WHERE n = 1 AND i % 20 = 4 ORDER BY i LIMIT 1");
@v{qw(failed failed_campaign)} = split /\|/, $node->safe_psql('postgres', "SELECT lead_id, campaign_id FROM data.leads WHERE n = 1 AND i % 20 = 3 ORDER BY i LIMIT 1");
@v{qw(open open_campaign)} = split /\|/, $node->safe_psql('postgres', "SELECT lead_id, campaign_id FROM data.leads WHERE n = 1 AND i % 20 = 1 ORDER BY i LIMIT 1");
$v{campaign2} = $node->safe_psql('postgres', 'SELECT campaign_id FROM data.campaigns WHERE n = 1 AND k = 9');

sub fill { return $_[0] =~ s/(?<!:):(\w+)/exists $v{$1} ? "'$v{$1}'" : ":$1"/ger }

sub psql_as
{
  my ($role, $sql) = @_;
  my ($out, $err);
  $node->psql('postgres', $sql, stdout => \$out, stderr => \$err, extra_params => [ '-U', $role ], on_error_stop => 1);
  return ($out, $err);
}

# ---------------------------------------------------------------- plans

sub walk
{
  my ($plan, $do) = @_;
  $do->($plan);
  walk($_, $do) foreach @{ $plan->{Plans} // [] };
  return;
}

# What is wrong with a plan: sequential scans of what grows, but those that were never run.
sub faults
{
  my ($plan) = @_;
  my @faults;
  walk($plan, sub {
    my ($n) = @_;
    push @faults, "sequential scan of $n->{'Relation Name'}"
      if $n->{'Node Type'} =~ /Seq Scan|Sample Scan/ && $big{ $n->{'Relation Name'} // '' } && ($n->{'Actual Loops'} // 1) > 0;
  });
  return @faults;
}

sub pages { return $_[0]{'Shared Hit Blocks'} + $_[0]{'Shared Read Blocks'} }

sub indexes
{
  my %names;
  walk($_[0], sub { $names{ $_[0]{'Index Name'} } = 1 if $_[0]{'Index Name'} });
  return join ' ', sort keys %names;
}

# A query's plan in the context of the largest tenant, by a session that has run it before.
sub plan_of
{
  my ($role, $sql, %with) = @_;
  my $enter = $role eq 'path_app' ? "SELECT entrestate.login('$v{t}', 'owner') \\g /dev/null" : '';
  my ($out, $err) = psql_as($role, fill("BEGIN;\n$enter\nEXPLAIN (ANALYZE, FORMAT JSON) $sql \\g /dev/null\n"
      . "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) $sql;\nCOMMIT;"));
  return (undef, $err) if $err ne '';
  return decode_json($out)->[0]{Plan};
}

# A query of an application's own for a page of one campaign has no bound: PostgreSQL takes campaign and
# tenant for independent, expects few rows, and below some size reads the campaign's slice of the index and
# sorts. The functions (further down) read a page and no more.
# [name, query, pages at most, index]: the bounds are generous, a scan of a tenant's rows is far above.
my @queries = (
  [ 'campaigns, newest first', 'SELECT * FROM entrestate.campaigns ORDER BY campaign_id DESC LIMIT 50' ],
  [ 'a lead', 'SELECT * FROM entrestate.leads WHERE lead_id = :lead', 20, 'leads_pkey' ],
  [ 'a lead by its idempotency key', "SELECT * FROM entrestate.leads WHERE idempotency_key = 'key-0'", 20, 'leads_idempotency' ],
  [ 'leads: (tenantId, campaignId, updatedAt)',
    'SELECT * FROM entrestate.leads WHERE campaign_id = :campaign ORDER BY updated_at DESC LIMIT 50', undef, 'leads_campaign' ],
  [ 'leads of a campaign, the next page', "SELECT * FROM entrestate.leads WHERE campaign_id = :campaign
      AND (updated_at, lead_id) < ('2026-02-01', :lead) ORDER BY updated_at DESC, lead_id DESC LIMIT 50", undef, 'leads_campaign' ],
  [ 'leads: (tenantId, direction, updatedAt)',
    "SELECT * FROM entrestate.leads WHERE direction = 'READY' ORDER BY updated_at DESC LIMIT 50", 300, 'leads_direction' ],
  [ 'leads by id, a page', 'SELECT * FROM entrestate.leads ORDER BY lead_id LIMIT 50', 300, 'leads_pkey' ],
  [ 'a lead by its address', "SELECT * FROM entrestate.lead_contacts WHERE kind = 'email' AND address_norm = 'person.0\@example.com'",
    20, 'lead_contacts_address' ],
  [ "a lead's contact points", 'SELECT * FROM entrestate.lead_contacts WHERE lead_id = :lead', 20, 'lead_contacts_' ],
  [ "a lead's attributions", 'SELECT * FROM entrestate.lead_attributions WHERE lead_id = :lead', 20, 'lead_attributions_pkey' ],
  [ "a campaign's attributions", 'SELECT * FROM entrestate.lead_attributions WHERE campaign_id = :campaign
      ORDER BY attributed_at DESC LIMIT 50', undef, 'lead_attributions_campaign' ],
  [ 'a run', 'SELECT * FROM entrestate.sender_runs WHERE campaign_id = :campaign AND lead_id = :lead', 20, 'sender_runs_' ],
  [ "a lead's runs", 'SELECT * FROM entrestate.sender_runs WHERE lead_id = :lead', 20, 'sender_runs_' ],
  [ 'senderRuns: (tenantId, campaignId, status, updatedAt)', "SELECT * FROM entrestate.sender_runs
      WHERE campaign_id = :campaign AND status = 'failed' ORDER BY updated_at DESC LIMIT 50", undef, 'sender_runs_' ],
  [ 'senderRuns: (tenantId, campaignId, updatedAt)', 'SELECT * FROM entrestate.sender_runs
      WHERE campaign_id = :campaign ORDER BY updated_at DESC LIMIT 50', undef, 'sender_runs_' ],
  [ "a campaign's runs, paged by key", 'SELECT * FROM entrestate.sender_runs WHERE campaign_id = :campaign
      AND lead_id > :lead ORDER BY lead_id LIMIT 50', undef, 'sender_runs_pkey' ],
  # (tenantId, createdAt): sender_events_list(), below
  [ 'senderEvents: (tenantId, campaignId, createdAt)', 'SELECT * FROM entrestate.sender_events
      WHERE campaign_id = :campaign ORDER BY recorded_at DESC LIMIT 50', 300, 'sender_events_.*campaign' ],
  [ 'senderEvents: (tenantId, type, createdAt)', "SELECT * FROM entrestate.sender_events
      WHERE type = 1 ORDER BY recorded_at DESC LIMIT 50", 300, 'sender_events_.*type' ],
  [ "a lead's story", 'SELECT * FROM entrestate.sender_events WHERE lead_id = :lead ORDER BY recorded_at, id', 60, 'sender_events_.*pkey' ],
  [ "a run's replay", 'SELECT * FROM entrestate.sender_events WHERE lead_id = :lead AND campaign_id = :campaign
      AND run_seq IS NOT NULL ORDER BY run_seq', 60, 'sender_events_.*pkey' ],
  [ 'senderSequences: (tenantId, campaignId, status, updatedAt)', "SELECT * FROM entrestate.sender_sequences
      WHERE campaign_id = :campaign AND status = 'published' ORDER BY updated_at DESC", 20 ],
  [ "a step's intent", 'SELECT * FROM entrestate.sender_intents WHERE campaign_id = :campaign AND lead_id = :lead AND step = 0',
    20, 'sender_intents_pkey' ],
  [ "a lead's messages on their way", "SELECT * FROM entrestate.sender_intents WHERE lead_id = :lead AND final_at IS NULL AND status <> 'unknown'",
    20, 'sender_intents_flight' ],
  [ 'what is to be sent', "SELECT * FROM entrestate.sender_intents WHERE status IN ('ready', 'leased', 'started')
      ORDER BY not_before LIMIT 50", 300, 'sender_intents_open' ],
  [ 'the feed', 'SELECT * FROM entrestate.activity_events ORDER BY recorded_at DESC, id DESC LIMIT 50', 300, 'activity_events_.*pkey' ],
  [ 'the feed of a campaign', 'SELECT * FROM entrestate.activity_events WHERE campaign_id = :campaign
      ORDER BY recorded_at DESC LIMIT 50', undef, 'activity_events_.*campaign' ],
  [ 'the audit log', 'SELECT * FROM entrestate.audit_log ORDER BY recorded_at DESC, id DESC LIMIT 50', 300, 'audit_log_.*pkey' ],
  [ 'the sign-ins', 'SELECT * FROM entrestate.login_audit ORDER BY recorded_at DESC, id DESC LIMIT 50', 300, 'login_audit_.*pkey' ],
  [ "a lead's score", 'SELECT * FROM entrestate.lead_scores WHERE lead_id = :lead', 20, 'lead_scores_pkey' ],
  [ "a lead's signals", 'SELECT * FROM entrestate.intent_signals WHERE lead_id = :lead ORDER BY recorded_at DESC', 60, 'intent_signals_.*pkey' ],
  [ 'audienceActions: (tenantId, createdAt)', 'SELECT * FROM entrestate.audience_actions ORDER BY recorded_at DESC, id DESC LIMIT 50', 300, 'audience_actions_.*pkey' ],
  [ "why a lead's automation stopped", 'SELECT * FROM entrestate.audience_actions WHERE lead_id = :lead ORDER BY recorded_at DESC', 60, 'audience_actions_.*lead' ],
  [ 'the tickets that are open', "SELECT * FROM entrestate.handoff_tickets WHERE status = 'open' ORDER BY opened_at DESC LIMIT 50", 300, 'handoff_tickets_status' ],
  [ "a lead's tickets", 'SELECT * FROM entrestate.handoff_tickets WHERE lead_id = :lead', 20, 'handoff_tickets_' ],
  [ "a member's notifications", "SELECT * FROM entrestate.notifications WHERE user_id = 'owner' ORDER BY notification_id DESC LIMIT 50", 300, 'notifications_' ],
  [ "a member's that are not read", "SELECT * FROM entrestate.notifications WHERE user_id = 'owner' AND read_at IS NULL ORDER BY notification_id DESC LIMIT 50", 300, 'notifications_' ],
  [ 'leads of a status', "SELECT * FROM entrestate.leads WHERE status = 'booked' ORDER BY lead_id DESC LIMIT 50", 300, 'leads_status' ],
  [ "a member's leads", "SELECT * FROM entrestate.leads WHERE owner_id = 'owner' ORDER BY lead_id DESC LIMIT 50", 300, 'leads_owner' ],
  [ "a lead's notes", 'SELECT * FROM entrestate.leads_notes WHERE lead_id = :lead ORDER BY note_id DESC', 20, 'leads_notes_pkey' ],
  [ "a lead's consents", 'SELECT * FROM entrestate.lead_consents WHERE lead_id = :lead', 20, 'lead_consents_pkey' ],
  [ "a lead's tags", 'SELECT * FROM entrestate.lead_tags WHERE lead_id = :lead', 20, 'lead_tags_pkey' ],
  [ 'leads with a tag', "SELECT * FROM entrestate.lead_tags WHERE tag = 'tag 8' ORDER BY lead_id DESC LIMIT 50", 300, 'lead_tags_tag' ],
  [ 'a suppressed address', "SELECT * FROM entrestate.suppressions WHERE channel = 'email' AND address_norm = :gone", 20, 'suppressions_pkey' ],
  [ 'a binding', "SELECT * FROM entrestate.campaign_bindings WHERE kind = 'form' AND value = :form", 20, 'campaign_bindings_pkey' ],
  [ 'what is not attributed', 'SELECT * FROM entrestate.unresolved_attributions WHERE settled_at IS NULL ORDER BY attribution_id DESC LIMIT 50', undef, 'unresolved_attributions_open' ],
  [ "a campaign's policy", 'SELECT * FROM entrestate.policy_snapshots WHERE campaign_id = :campaign ORDER BY version DESC LIMIT 1', 20, 'policy_snapshots_pkey' ],
  # a tenant is a slice of a table, for aggregates as well
  [ 'a campaign counted', "SELECT direction, count(*) FROM entrestate.leads WHERE campaign_id = :campaign GROUP BY 1" ],
  [ "a day's events counted", "SELECT type, count(*) FROM entrestate.sender_events WHERE campaign_id = :campaign
      AND recorded_at >= '2026-02-10' AND recorded_at < '2026-02-11' GROUP BY 1", undef, 'sender_events_.*campaign' ],
);
foreach my $q (@queries)
{
  my ($name, $sql, $most, $index) = @$q;
  my ($plan, $err) = plan_of('path_app', $sql);
  if (!$plan) { fail("$name: $err"); next; }
  my @faults = faults($plan);
  push @faults, 'reads ' . pages($plan) . " pages, more than $most" if defined $most && pages($plan) > $most;
  push @faults, 'does not use ' . $index . ' but: ' . indexes($plan) if defined $index && indexes($plan) !~ /$index/;
  is(join('; ', @faults), '', "path: $name");
}
# the test can tell: without an index the same comparison fails
my ($bad) = plan_of('path_app', "SELECT * FROM entrestate.leads WHERE company = 'Company 7'");
cmp_ok(pages($bad), '>', 300, 'a path without an index is told from one with');

# ---------------------------------------------------------------- inside the functions

# The plans that a session logged: [text, plan].
sub logged
{
  my ($from) = @_;
  my $log = slurp_file($node->logfile, $from);
  my @plans;
  while ($log =~ /duration: [0-9.]+ ms  plan:\n((?:\t.*\n)+)/g)
  {
    my $json = decode_json($1 =~ s/^\t//mgr);
    push @plans, [ $json->{'Query Text'}, $json->{Plan} ];
  }
  return @plans;
}

# Every function that somebody other than a superuser may call is in one of these lists.
my %app = (
  activity_feed => [ 'SELECT count(*) FROM entrestate.activity_feed()', 400 ],
  'activity_feed, of a campaign' => [ 'SELECT count(*) FROM entrestate.activity_feed(campaign => :campaign)', 400 ],
  'activity_feed, the next page' => [ "SELECT count(*) FROM entrestate.activity_feed('2026-02-01')", 400 ],
  audit_list => [ 'SELECT count(*) FROM entrestate.audit_list()', 400 ],
  'audit_list, the next page' => [ "SELECT count(*) FROM entrestate.audit_list('2026-02-01')", 400 ],
  campaign_create => [ "SELECT entrestate.campaign_create('New')", 400 ],
  campaign_get => [ 'SELECT entrestate.campaign_get(:campaign)', 200 ],
  campaign_list => [ 'SELECT count(*) FROM entrestate.campaign_list()', 200 ],
  campaign_status_set => [ "SELECT entrestate.campaign_status_set(:campaign, 'paused')", 500 ],
  campaign_update => [ "SELECT entrestate.campaign_update(:campaign, name => 'Other')", 500 ],
  # a backfill reads its campaign's attributions since then
  'campaign_update, with a backfill' => [ "SELECT entrestate.campaign_update(:campaign, backfill => '2026-02-28')" ],
  # reads the campaign's runs, and writes those that are due
  campaign_resume => [ "SELECT entrestate.campaign_status_set(:campaign, 'paused'), entrestate.campaign_resume(:campaign)" ],
  'campaign_resume, skip' => [ "SELECT entrestate.campaign_status_set(:campaign, 'paused'), entrestate.campaign_resume(:campaign, 'skip')" ],
  'campaign_resume, stop' => [ "SELECT entrestate.campaign_status_set(:campaign, 'paused'), entrestate.campaign_resume(:campaign, 'stop')" ],
  campaign_rehearse => [ 'SELECT entrestate.campaign_rehearse(:campaign)', 500 ],
  campaign_go_live => [ "SELECT entrestate.campaign_rehearse(:campaign), entrestate.campaign_go_live(:campaign, 'all')" ],
  channel_limits_set => [ "SELECT entrestate.channel_limits_set('sms', 100)", 400 ],
  channel_set => [ "SELECT entrestate.channel_set('sms', true)", 400 ],
  agent_settings_get => [ 'SELECT entrestate.agent_settings_get(:campaign)', 100 ],
  agent_settings_set => [ "SELECT entrestate.agent_settings_set(:campaign, behaviour => '{\"tone\": 7}')", 700 ],
  policy_get => [ 'SELECT entrestate.policy_get(:campaign)', 100 ],
  'policy_get, of a version' => [ 'SELECT entrestate.policy_get(:campaign, -7)', 100 ],
  score_settings_get => [ 'SELECT entrestate.score_settings_get()', 100 ],
  score_settings_set => [ "SELECT entrestate.score_settings_set('{\"click\": 4}')", 900 ],
  audience_actions_list => [ 'SELECT count(*) FROM entrestate.audience_actions_list()', 400 ],
  'audience_actions_list, the next page' => [ "SELECT count(*) FROM entrestate.audience_actions_list(NULL, '2026-02-01')", 400 ],
  'audience_actions_list, of a lead' => [ 'SELECT count(*) FROM entrestate.audience_actions_list(:lead3)', 100 ],
  # reads its campaign's attributions since then
  campaign_backfill => [ "SELECT * FROM entrestate.campaign_backfill(:campaign, '2026-02-28')" ],
  # counts the campaign's rows
  campaign_metrics => [ 'SELECT entrestate.campaign_metrics(:campaign)' ],
  'campaign_update, its bindings' => [ "SELECT entrestate.campaign_update(:campaign, bindings => '{\"forms\": [\"new\"]}')" ],
  handoff_list => [ 'SELECT count(*) FROM entrestate.handoff_list()', 400 ],
  'handoff_list, the next page of the resolved' => [ "SELECT count(*) FROM entrestate.handoff_list('resolved', '2026-02-01')", 400 ],
  handoff_of => [ 'SELECT count(*) FROM entrestate.handoff_of(:lead3)', 100 ],
  handoff_open => [ "SELECT entrestate.handoff_open(:lead3, 'asked')", 700 ],
  handoff_take => [ 'SELECT entrestate.handoff_take(:ticket)', 500 ],
  handoff_release => [ 'SELECT entrestate.handoff_release(:ticket)', 500 ],
  handoff_resolve => [ "SELECT entrestate.handoff_resolve(:ticket, 'called')", 500 ],
  lead_attribute => [ 'SELECT entrestate.lead_attribute(:lead, :campaign2)', 600 ],
  lead_create => [ "SELECT entrestate.lead_create('A', 'new\@example.com', '+1 416 555 0100', campaign => :campaign, idempotency_key => 'new')", 900 ],
  'lead_create, once more' => [ "SELECT entrestate.lead_create('A', campaign => :campaign, idempotency_key => 'key-' || (SELECT substr(idempotency_key, 5) FROM entrestate.leads WHERE lead_id = :lead))", 300 ],
  'lead_create, of a lead that is there' => [ "SELECT entrestate.lead_create('A', :address, source => 'form')", 1200 ],
  'lead_create, by a binding' => [ "SELECT entrestate.lead_create('A', attribution => jsonb_build_object('form', :form::text))", 900 ],
  'lead_create, by the last binding' => [ "SELECT entrestate.lead_create('A', attribution => '{\"form\": \"x\", \"landing_page\": \"x\", \"click_ids\": {\"gclid\": \"x\"}, \"utm\": {\"utm_campaign\": \"x\"}}')", 1300 ],
  lead_bounced => [ "SELECT entrestate.lead_bounced(:lead, 'email', :address, true)", 500 ],
  lead_complained => [ 'SELECT entrestate.lead_complained(:lead)', 800 ],
  lead_consent => [ "SELECT entrestate.lead_consent(:lead, 'email', true, 'form')", 400 ],
  lead_contact_add => [ "SELECT entrestate.lead_contact_add(:lead, 'email', 'second\@example.com', true)", 500 ],
  lead_contact_remove => [ "SELECT entrestate.lead_contact_remove(:lead, 'email', :address)", 500 ],
  lead_cool => [ "SELECT entrestate.signal_add(:lead4, 'call_request'), entrestate.lead_cool(:lead4, 'x')", 1500 ],
  lead_erasure_request => [ 'SELECT entrestate.lead_erasure_request(:lead)', 800 ],
  lead_grade_override => [ "SELECT entrestate.lead_grade_override(:lead, 'A', 'x')", 500 ],
  lead_import => [ "SELECT * FROM entrestate.lead_import('[{\"email\": \"new\@example.com\"}, {\"full_name\": \"B\", \"attribution\": {\"form\": \"x\"}}]', :campaign)", 1500 ],
  lead_import_csv => [ "SELECT * FROM entrestate.lead_import_csv('email,utm_campaign\\012new\@example.com,x')", 1500 ],
  lead_import_get => [ 'SELECT entrestate.lead_import_get(:import)', 100 ],
  lead_merge => [ 'SELECT entrestate.lead_merge(:lead4, :lead3)', 2500 ],
  lead_note_add => [ "SELECT entrestate.lead_note_add(:lead, 'x')", 400 ],
  lead_notes => [ 'SELECT count(*) FROM entrestate.lead_notes(:lead3)', 100 ],
  lead_opt_in => [ "SELECT entrestate.lead_opt_in(:lead, 'email')", 500 ],
  lead_opt_out => [ "SELECT entrestate.lead_opt_out(:lead, 'email')", 900 ],
  lead_score => [ 'SELECT entrestate.lead_score(:lead3)', 100 ],
  # of each word the tenant's postings are read
  lead_search => [ 'SELECT count(*) FROM entrestate.lead_search(:person)', 300 + $rows / 100 ],
  'lead_search, by address' => [ 'SELECT count(*) FROM entrestate.lead_search(:address)', 150 ],
  # a page of what all have, by the beginning of a word and with other conditions: what matches is read
  'lead_search, by a word that many have' => [ "SELECT count(*) FROM entrestate.lead_search('company 77')" ],
  'lead_search, all' => [ 'SELECT count(*) FROM entrestate.lead_search()', 500 ],
  'lead_search, by status' => [ "SELECT count(*) FROM entrestate.lead_search(with_status => 'booked')", 500 ],
  'lead_search, by the usual status' => [ "SELECT count(*) FROM entrestate.lead_search(with_status => 'new')", 500 ],
  'lead_search, by owner' => [ "SELECT count(*) FROM entrestate.lead_search(owner => 'owner')", 500 ],
  'lead_search, by tag' => [ "SELECT count(*) FROM entrestate.lead_search(tag => 'tag 8')", 1500 ],
  'lead_search, by campaign' => [ 'SELECT count(*) FROM entrestate.lead_search(campaign => :campaign)', 1500 ],
  'lead_search, the next page' => [ "SELECT count(*) FROM entrestate.lead_search(with_status => 'booked', before => :lead)", 500 ],
  lead_status_set => [ "SELECT entrestate.lead_status_set(:lead2, 'booked')", 900 ],
  lead_tag => [ "SELECT entrestate.lead_tag(:lead, '{x,y}')", 400 ],
  lead_unresolved => [ 'SELECT count(*) FROM entrestate.lead_unresolved()', 400 ],
  lead_resolve_again => [ 'SELECT entrestate.lead_resolve_again(10)', 600 ],
  lead_update => [ "SELECT entrestate.lead_update(:lead, 'Other', owner => 'owner')", 600 ],
  notifications_list => [ 'SELECT count(*) FROM entrestate.notifications_list()', 400 ],
  'notifications_list, the next page' => [ 'SELECT count(*) FROM entrestate.notifications_list(true, :notice)', 400 ],
  notifications_read => [ 'SELECT entrestate.notifications_read(ARRAY[:notice]::uuid[])', 300 ],
  # what is not read is counted
  notifications_unread => [ 'SELECT entrestate.notifications_unread()', 1000 ],
  sender_stop => [ "SELECT entrestate.sender_stop(:open_campaign, :open, 'x')", 900 ],
  sender_resume => [ 'SELECT entrestate.sender_resume(:failed_campaign, :failed)', 700 ],
  sender_retry => [ 'SELECT entrestate.sender_retry(:skipped_campaign, :skipped, 0)', 900 ],
  # reads the campaign's runs, and writes those that move
  sender_upgrade => [ "SELECT entrestate.sender_upgrade(:campaign, v) FROM entrestate.sequence_create(:campaign, jsonb_build_array(jsonb_build_object('channel', 'email', 'template', :template, 'delay', '1 day'))) v, entrestate.sequence_publish(:campaign, v)" ],
  sender_start => [ "SELECT i.outcome, entrestate.sender_start(:campaign, i.lead_id) FROM entrestate.lead_import('[{\"email\": \"new\@example.com\"}]', :campaign) i", 1800 ],
  sender_explain => [ 'SELECT count(*) FROM entrestate.sender_explain(:campaign, :lead)', 300 ],
  # read the campaign's runs and what happened to their leads
  sender_simulate => [ "SELECT count(*) FROM entrestate.sender_simulate(:campaign, '2026-01-01', '2026-04-01')" ],
  'sender_simulate, of nothing' => [ "SELECT count(*) FROM entrestate.sender_simulate(:campaign, '2020-01-01', '2020-02-01')" ],
  sender_what_if => [ "SELECT count(*) FROM entrestate.sender_what_if(:campaign, '2026-01-01', '2026-04-01', '{\"hot_threshold\": 25}')" ],
  sender_why => [ 'SELECT count(*) FROM entrestate.sender_why(:lead)', 300 ],
  signal_add => [ "SELECT entrestate.signal_add(:lead3, 'click', reference => 'x')", 600 ],
  'signal_add, that makes hot' => [ "SELECT entrestate.signal_add(:lead3, 'call_request')", 1200 ],
  signals_add => [ "SELECT count(*) FROM entrestate.signals_add(ARRAY[:lead, :lead2, :lead3]::uuid[], '{click,open,reply}')", 1500 ],
  signals_list => [ 'SELECT count(*) FROM entrestate.signals_list(:lead3)', 100 ],
  suppression_add => [ "SELECT entrestate.suppression_add('email', :address)", 400 ],
  suppression_list => [ "SELECT count(*) FROM entrestate.suppression_list('email')", 300 ],
  'suppression_list, the next page' => [ "SELECT count(*) FROM entrestate.suppression_list('email', 'gone.5')", 300 ],
  suppression_remove => [ "SELECT entrestate.suppression_remove('email', :gone)", 400 ],
  lead_get => [ 'SELECT entrestate.lead_get(:lead)', 200 ],
  lead_list => [ 'SELECT count(*) FROM entrestate.lead_list(:campaign)', 400 ],
  'lead_list, the next page' => [ "SELECT count(*) FROM entrestate.lead_list(:campaign, '2026-02-01')", 400 ],
  member_add => [ "SELECT entrestate.member_add('someone')", 400 ],
  member_update => [ "SELECT entrestate.member_add('someone'), entrestate.member_update('someone', 'viewer')", 800 ],
  member_contact_set => [ "SELECT entrestate.member_contact_set('owner', 'email', 'owner\@example.com')", 500 ],
  member_remove => [ "SELECT entrestate.member_add('someone'), entrestate.member_remove('someone')", 800 ],
  delivery_report => [ "SELECT entrestate.delivery_report(i.campaign_id, i.lead_id, 0, 0, 'opened') FROM (SELECT x.campaign_id, x.lead_id FROM entrestate.sender_intents x WHERE x.campaign_id = :campaign AND x.status = 'sent' ORDER BY x.tenant_id, x.campaign_id, x.step, x.lead_id LIMIT 1) i", 1000 ],
  sandbox_set => [ 'SELECT entrestate.sandbox_set(1)', 500 ],
  sender_test_send => [ "SELECT m, (entrestate.sender_test_send(:campaign, 1, 0)).outcome FROM entrestate.member_contact_set('owner', 'email', 'owner\@example.com') m", 1500 ],
  sender_test_list => [ 'SELECT count(*) FROM entrestate.sender_test_list(:campaign)', 200 ],
  sender_history => [ 'SELECT count(*) FROM entrestate.sender_history(:lead)', 200 ],
  'sender_history, of a campaign' => [ 'SELECT count(*) FROM entrestate.sender_history(:lead, :campaign)', 200 ],
  # senderEvents: (tenantId, createdAt), and (tenantId, type, createdAt) of the type that its index leaves out
  sender_events_list => [ 'SELECT count(*) FROM entrestate.sender_events_list()', 2500 ],
  'sender_events_list, the next page' => [ "SELECT count(*) FROM entrestate.sender_events_list(before => '2026-02-10')", 2500 ],
  'sender_events_list, of a campaign' => [ 'SELECT count(*) FROM entrestate.sender_events_list(campaign => :campaign)', 500 ],
  'sender_events_list, of a type' => [ "SELECT count(*) FROM entrestate.sender_events_list('sender.run.started')", 500 ],
  'sender_events_list, of what was sent' => [ "SELECT count(*) FROM entrestate.sender_events_list('sender.step.sent')", 2500 ],
  # count the tenant's runs, or what happened to them
  sender_balance => [ 'SELECT count(*) FROM entrestate.sender_balance(:campaign)' ],
  'sender_balance, all' => [ 'SELECT count(*) FROM entrestate.sender_balance()' ],
  sender_metrics => [ 'SELECT entrestate.sender_metrics(:campaign)' ],
  'sender_metrics, of nothing' => [ "SELECT entrestate.sender_metrics(:campaign, '2020-01-01', '2020-01-02')", 300 ],
  sender_replay => [ 'SELECT entrestate.sender_replay(:campaign, :lead)', 300 ],
  sender_story => [ 'SELECT count(*) FROM entrestate.sender_story(:lead)', 500 ],
  sender_queue_runs => [ 'SELECT count(*) FROM entrestate.sender_queue_runs()', 900 ],
  'sender_queue_runs, of a campaign' => [ 'SELECT count(*) FROM entrestate.sender_queue_runs(:campaign)', 900 ],
  'sender_queue_runs, the next page' => [ 'SELECT count(*) FROM entrestate.sender_queue_runs(:campaign, NULL, :campaign, :lead)', 900 ],
  sender_queue => [ 'SELECT count(*) FROM entrestate.sender_queue()' ],
  sender_runs_of => [ 'SELECT count(*) FROM entrestate.sender_runs_of(:lead)', 200 ],
  sequence_create => [ "SELECT entrestate.sequence_create(:campaign, jsonb_build_array(jsonb_build_object('channel', 'email', 'template', :template, 'delay', '1 day')))", 600 ],
  sequence_publish => [ "SELECT entrestate.sequence_publish(:campaign, entrestate.sequence_create(:campaign, jsonb_build_array(jsonb_build_object('channel', 'email', 'template', :template, 'delay', '1 day'))))", 1000 ],
  sequence_get => [ 'SELECT entrestate.sequence_get(:campaign)', 200 ],
  sequence_list => [ 'SELECT count(*) FROM entrestate.sequence_list(:campaign)', 200 ],
  sequence_copy => [ 'SELECT entrestate.sequence_copy(:campaign, 1, :campaign2)', 600 ],
  sequence_archive => [ 'SELECT entrestate.sequence_archive(:campaign, 1)', 800 ],
  sender_setup => [ 'SELECT entrestate.sender_setup(:campaign)', 4000 ],
  template_get => [ 'SELECT entrestate.template_get(:template)', 100 ],
  template_list => [ 'SELECT count(*) FROM entrestate.template_list()', 200 ],
  template_preview => [ 'SELECT entrestate.template_preview(:template, 1, :lead, :campaign)', 500 ],
  template_version_add => [ "SELECT entrestate.template_version_add(:template, 'Text', 'Subject')", 500 ],
  identity_create => [ "SELECT entrestate.identity_create('email', 'team\@example.com')", 400 ],
  identity_status_set => [ "SELECT entrestate.identity_status_set(entrestate.identity_create('email', 'team\@example.com'), 'pending')", 600 ],
  identity_default_set => [ "SELECT entrestate.identity_default_set(entrestate.identity_create('email', 'team\@example.com'))", 700 ],
  campaign_identity_set => [ "SELECT entrestate.campaign_identity_set(:campaign, 'email', entrestate.identity_create('email', 'team\@example.com'))", 700 ],
  identity_list => [ 'SELECT count(*) FROM entrestate.identity_list()', 200 ],
  template_create => [ "SELECT entrestate.template_create('T', 'sms', 'Text')", 400 ],
  template_status_set => [ "SELECT entrestate.template_status_set(:template, 1, 'retired')", 500 ],
  tenant_get => [ 'SELECT entrestate.tenant_get()', 100 ],
  tenant_freeze => [ "SELECT entrestate.tenant_freeze('test')", 500 ],
  tenant_unfreeze => [ 'SELECT entrestate.tenant_unfreeze()', 500 ],
  tenant_pause => [ "SELECT entrestate.tenant_pause('test')", 500 ],
  tenant_resume => [ 'SELECT entrestate.tenant_resume()', 500 ],
  tenant_quiet_hours_set => [ q{SELECT entrestate.tenant_quiet_hours_set('[{"from": "21:00", "to": "09:00"}]')}, 500 ],
  tenant_update => [ "SELECT entrestate.tenant_update(name => 'Other')", 500 ],
  tenant_create => [ "SELECT entrestate.tenant_create('Another', 'someone')", 800 ],
  login => [ "SELECT entrestate.login(:t, 'owner')", 100 ],
  login_record => [ "SELECT entrestate.login_record(:t, 'owner', 'login.failed')", 400 ],
  token_mint => [ "SELECT length(entrestate.token_mint(:t, 'owner'))", 100 ],
);
my %others = map { $_ => 1 } (
  # below, by other roles
  qw(sender_process sender_process_tenant sender_next_tenant sandbox_report sandbox_report_tenant sandbox_next_tenant tenant_next scores_decay scores_decay_tenant sender_upkeep sender_upkeep_tenant tick consumer_create consumer_next consumer_events consumer_done consumer_drop),
  # read everything, on purpose
  qw(verify isolation_prove sender_verify sender_fold audience_verify code_now code_shipped upkeep),
  # read no table that grows
  qw(binding_normalise can capabilities clock_moved clock_now code_version context current_actor current_member_role current_tenant delay_add
    email_normalise phone_normalise error_codes guard_definition guard_policies guard_policy_is_ours guard_readers guard_root guard_triggers
    open_is_machine policy_current reply_is_automatic score_defaults score_of score_settings_of signal_kinds login_event_types login_jwt login_request logout run_id schedule_jobs schedule_statements sender_channels
    sandbox_rates sender_decide sender_event_types sender_modes sender_reasons template_fields transitions uuid_v7 window_opening));
my @unknown = grep { !$others{$_} && !$app{$_} } split /\n/, $node->safe_psql('postgres', <<"SQL");
SELECT DISTINCT p.proname FROM pg_proc p
CROSS JOIN unnest('{entrestate_app,entrestate_authenticator,entrestate_worker,entrestate_auditor,entrestate_anon}'::name[]) r
WHERE p.pronamespace = 'entrestate'::regnamespace AND has_function_privilege(r, p.oid, 'EXECUTE') ORDER BY 1
SQL
is("@unknown", '', 'every function that a role may call is in a list of this test');

foreach my $mode (qw(auto force_generic_plan))
{
  # what the calls before left and rolled back
  $node->safe_psql('postgres', 'VACUUM');
  foreach my $name (sort keys %app)
  {
    my ($sql, $most) = @{ $app{$name} };
    my $once = "BEGIN;\nSELECT entrestate.login(:t, 'owner');\n$sql";
    my $from = -s $node->logfile;
    # the second call finds the session's caches filled
    my ($out, $err) = psql_as('path_app', fill("SET plan_cache_mode = $mode;\n$once;\nROLLBACK;\n$once /* again */;\nROLLBACK;"));
    if ($err ne '') { fail("$name ($mode): $err"); next; }
    my (@faults, $read);
    foreach my $p (logged($from))
    {
      my ($text, $plan) = @$p;
      push @faults, map { "$_ in: " . substr($text =~ s/\s+/ /gr, 0, 100) } faults($plan);
      $read = pages($plan) if $text =~ m{/\* again \*/};
    }
    push @faults, 'was not logged' unless defined $read;
    push @faults, "reads $read pages, more than $most" if defined $read && defined $most && $read > $most;
    is(join('; ', @faults), '', "function: $name ($mode)");
  }
}

# ---------------------------------------------------------------- the processor, the ticker, consumers

my $from = -s $node->logfile;
my ($out, $err) = psql_as('entrestate_worker', 'SELECT entrestate.tick();');
is($err, '', 'tick');
psql_as('path_auditor', "SELECT entrestate.consumer_create('paths', false);");
psql_as('path_app', fill("BEGIN; SELECT entrestate.login(:t, 'owner'); SELECT entrestate.sandbox_set(1, '{\"open\": 1, \"click\": 1, \"reply\": 0.2, \"chat\": 0.5, \"unknown\": 0.2, \"refusal\": 0, \"hard_bounce\": 0.1}'); COMMIT"));
my $due = $node->safe_psql('postgres', 'SELECT coalesce(sum(cardinality(leads)), 0) FROM entrestate.sender_due WHERE due_at <= entrestate.clock_now()');
cmp_ok($due, '>', 1000, 'there is something due');
($out, $err) = psql_as('entrestate_worker', "CALL entrestate.sender_process(500);\nSELECT entrestate.tick();");
is($err, '', 'sender_process');
is($node->safe_psql('postgres', 'SELECT coalesce(sum(cardinality(leads)), 0) FROM entrestate.sender_due WHERE due_at <= entrestate.clock_now()'), 0,
  'all that was due is decided');
my (%faults, $batch_pages);
foreach my $p (logged($from))
{
  my ($text, $plan) = @$p;
  $faults{"$_ in: " . substr($text =~ s/\s+/ /gr, 0, 100)}++ foreach faults($plan);
  # what it looks up past the executor is counted with the call
  $batch_pages += pages($plan) if $text =~ /^SELECT entrestate.sender_process_tenant/;
}
is(join('; ', sort keys %faults), '', 'processor and ticker: no sequential scan of what grows');
cmp_ok($batch_pages / $due, '<', 150, 'a batch reads and writes what it decides') or diag("$batch_pages pages for $due runs");
diag(sprintf '%.1f pages a run', $batch_pages / $due);

# a tick when nothing is due: a look at each tenant that has something waiting, and nothing else
my $waiting = $node->safe_psql('postgres', 'SELECT count(DISTINCT tenant_id) FROM entrestate.sender_due');
cmp_ok($waiting, '>', 50, 'there is something that waits');
is($node->safe_psql('postgres', 'SELECT count(*) FROM entrestate.sender_holds'), 0, 'nothing is held');
$from = -s $node->logfile;
($out, $err) = psql_as('entrestate_worker', 'CALL entrestate.sender_process();');
is($err, '', 'a tick for nothing');
my (%looks, $look_pages);
foreach my $p (logged($from))
{
  my ($text, $plan) = @$p;
  next if $text =~ /^(SELECT entrestate\.sender_(next_tenant|process_tenant)|SELECT d\.tenant_id FROM entrestate\.sender_due|SELECT version FROM entrestate\.schema_version)/;
  $looks{ substr $text =~ s/\s+/ /gr, 0, 60 }++;
  $look_pages += pages($plan);
}
is(join('; ', map { "$looks{$_} x $_" } sort keys %looks), "$waiting x WITH RECURSIVE queue AS ( (SELECT d.campaign_id, d.version, ", 'one look a tenant');
cmp_ok($look_pages / $waiting, '<', 50, 'of a few pages');
diag(sprintf '%.1f pages a look', $look_pages / $waiting);

# scores that fall, and what upkeep starts
$from = -s $node->logfile;
my $expired = $node->safe_psql('postgres', 'SELECT count(*) FROM entrestate.lead_scores WHERE expires_at <= entrestate.clock_now()');
cmp_ok($expired, '>', 100, 'there are scores to fall');
($out, $err) = psql_as('entrestate_worker', "CALL entrestate.scores_decay(500);\nCALL entrestate.sender_upkeep();");
is($err, '', 'scores_decay and sender_upkeep');
is($node->safe_psql('postgres', 'SELECT count(*) FROM entrestate.lead_scores WHERE expires_at <= entrestate.clock_now()'), 0, 'all that was due has fallen');
%faults = ();
my $decay_pages = 0;
foreach my $p (logged($from))
{
  my ($text, $plan) = @$p;
  $faults{"$_ in: " . substr($text =~ s/\s+/ /gr, 0, 100)}++ foreach faults($plan);
  $decay_pages += pages($plan) if $text =~ /^CALL entrestate.scores_decay/ || $text =~ /lead_scores/;
}
is(join('; ', sort keys %faults), '', 'scores and upkeep: no sequential scan of what grows');
cmp_ok($decay_pages / $expired, '<', 200, 'a score that falls reads what it needs');

# a consumer's batch: what the processor wrote, and no more
$from = -s $node->logfile;
($out, $err) = psql_as('path_auditor', <<"SQL");
SELECT batch, epoch, after, upto FROM entrestate.consumer_next('paths') \\gset
SELECT count(*) FROM entrestate.consumer_events(NULL::entrestate.sender_events, :epoch::smallint, :'after', :'upto') /* batch */;
SELECT count(*) FROM entrestate.consumer_events(NULL::entrestate.activity_events, :epoch::smallint, :'after', :'upto');
SELECT entrestate.consumer_done('paths', :batch);
SELECT entrestate.consumer_drop('paths');
SQL
is($err, '', 'a consumer reads its batch');
my @faults;
my $read;
foreach my $p (logged($from))
{
  push @faults, faults($p->[1]);
  $read = pages($p->[1]) if $p->[0] =~ m{/\* batch \*/};
}
is("@faults", '', 'consumer: no sequential scan of what grows');
cmp_ok((split /\n/, $out)[0], '>=', $due, 'the batch is what the processor wrote');
cmp_ok($read, '<', 1000 + 5 * $due, 'and the rest of the table is not read');

# what the sandbox reports of the messages that were just sent, a day later
$node->safe_psql('postgres', "ALTER ROLE entrestate_worker IN DATABASE postgres SET entrestate.clock = '2026-03-02T12:00:00Z'");
$from = -s $node->logfile;
($out, $err) = psql_as('entrestate_worker', fill('SELECT entrestate.sandbox_next_tenant(:t) IS NOT NULL; SELECT entrestate.sandbox_report_tenant(:t, 200) /* report */;'));
is("$err $out", " t\n200", 'sandbox_report');
$node->safe_psql('postgres', 'ALTER ROLE entrestate_worker IN DATABASE postgres RESET entrestate.clock');
%faults = ();
my $report_pages;
foreach my $p (logged($from))
{
  my ($text, $plan) = @$p;
  $faults{"$_ in: " . substr($text =~ s/\s+/ /gr, 0, 100)}++ foreach faults($plan);
  $report_pages = pages($plan) if $text =~ m{/\* report \*/};
}
is(join('; ', sort keys %faults), '', 'sandbox_report: no sequential scan of what grows');
cmp_ok($report_pages / 200, '<', 400, 'a report reads what it needs');

# ---------------------------------------------------------------- a plan made for nobody

# Prepared and run before there was any context, then for the largest tenant: it must not keep
# a plan that was made for no rows. Pages are compared, not times.
foreach my $q (
  [ 'a join of leads, runs and events', 'SELECT count(*), max(e.recorded_at) FROM entrestate.leads l
      JOIN entrestate.sender_runs r USING (tenant_id, lead_id) JOIN entrestate.sender_events e USING (tenant_id, lead_id)
      WHERE l.direction = \'NOISE\'' ],
  [ 'an aggregate', 'SELECT direction, count(*) FROM entrestate.leads GROUP BY 1' ],
  [ 'a page', 'SELECT * FROM entrestate.leads WHERE campaign_id = $1 ORDER BY updated_at DESC LIMIT 50', "(:campaign)" ])
{
  my ($name, $sql, $args) = @$q;
  $args //= '';
  my $type = $args ? '(uuid)' : '';
  my $prepare = "PREPARE p$type AS $sql;\n";
  my $execute = "EXECUTE p$args \\g /dev/null\n";
  my $explain = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE p$args;\n";
  my $enter = "BEGIN;\nSELECT entrestate.login(:t, 'owner') \\g /dev/null\n";
  my ($before, $e1) = psql_as('path_app', fill($prepare . $execute x 7 . $enter . $execute . $explain . 'COMMIT;'));
  my ($fresh, $e2) = psql_as('path_app', fill($enter . $prepare . $execute . $explain . 'COMMIT;'));
  if ("$e1$e2" ne '') { fail("$name: $e1$e2"); next; }
  my ($a, $b) = map { pages(decode_json($_)->[0]{Plan}) } $before, $fresh;
  cmp_ok($a, '<=', 3 * $b + 100, "prepared before any context, $name: $a pages, prepared with it: $b");
}

$node->stop;
done_testing();
