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
  # the newest of each type, then the newest of all
  [ 'senderEvents: (tenantId, createdAt)', 'SELECT e.* FROM entrestate.sender_event_types() y CROSS JOIN LATERAL (
      SELECT * FROM entrestate.sender_events e WHERE e.type = y.code ORDER BY e.recorded_at DESC LIMIT 50) e
      ORDER BY e.recorded_at DESC LIMIT 50', 2500, 'sender_events_.*type' ],
  [ 'senderEvents: (tenantId, createdAt), the next page', "SELECT e.* FROM entrestate.sender_event_types() y CROSS JOIN LATERAL (
      SELECT * FROM entrestate.sender_events e WHERE e.type = y.code AND e.recorded_at < '2026-02-10'
      ORDER BY e.recorded_at DESC LIMIT 50) e ORDER BY e.recorded_at DESC LIMIT 50", 2500, 'sender_events_.*type' ],
  [ 'senderEvents: (tenantId, campaignId, createdAt)', 'SELECT * FROM entrestate.sender_events
      WHERE campaign_id = :campaign ORDER BY recorded_at DESC LIMIT 50', 300, 'sender_events_.*campaign' ],
  [ 'senderEvents: (tenantId, type, createdAt)', "SELECT * FROM entrestate.sender_events
      WHERE type = (SELECT code FROM entrestate.sender_event_types() WHERE name = 'sender.run.started')
      ORDER BY recorded_at DESC LIMIT 50", 300, 'sender_events_.*type' ],
  [ "a lead's story", 'SELECT * FROM entrestate.sender_events WHERE lead_id = :lead ORDER BY recorded_at, id', 60, 'sender_events_.*pkey' ],
  [ "a run's replay", 'SELECT * FROM entrestate.sender_events WHERE lead_id = :lead AND campaign_id = :campaign
      AND run_seq IS NOT NULL ORDER BY run_seq', 60, 'sender_events_.*pkey' ],
  [ 'senderSequences: (tenantId, campaignId, status, updatedAt)', "SELECT * FROM entrestate.sender_sequences
      WHERE campaign_id = :campaign AND status = 'published' ORDER BY updated_at DESC", 20 ],
  [ "a step's intent", 'SELECT * FROM entrestate.sender_intents WHERE campaign_id = :campaign AND lead_id = :lead AND step = 0',
    20, 'sender_intents_pkey' ],
  [ 'what is to be sent', "SELECT * FROM entrestate.sender_intents WHERE status IN ('ready', 'leased', 'started')
      ORDER BY not_before LIMIT 50", 300, 'sender_intents_open' ],
  [ 'the feed', 'SELECT * FROM entrestate.activity_events ORDER BY recorded_at DESC, id DESC LIMIT 50', 300, 'activity_events_.*pkey' ],
  [ 'the feed of a campaign', 'SELECT * FROM entrestate.activity_events WHERE campaign_id = :campaign
      ORDER BY recorded_at DESC LIMIT 50', undef, 'activity_events_.*campaign' ],
  [ 'the audit log', 'SELECT * FROM entrestate.audit_log ORDER BY recorded_at DESC, id DESC LIMIT 50', 300, 'audit_log_.*pkey' ],
  [ 'the sign-ins', 'SELECT * FROM entrestate.login_audit ORDER BY recorded_at DESC, id DESC LIMIT 50', 300, 'login_audit_.*pkey' ],
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
  channel_set => [ "SELECT entrestate.channel_set('sms', true)", 400 ],
  lead_attribute => [ 'SELECT entrestate.lead_attribute(:lead, :campaign2)', 600 ],
  lead_create => [ "SELECT entrestate.lead_create('A', 'new\@example.com', '+1 416 555 0100', campaign => :campaign, idempotency_key => 'new')", 900 ],
  'lead_create, once more' => [ "SELECT entrestate.lead_create('A', campaign => :campaign, idempotency_key => 'key-' || (SELECT substr(idempotency_key, 5) FROM entrestate.leads WHERE lead_id = :lead))", 300 ],
  lead_get => [ 'SELECT entrestate.lead_get(:lead)', 200 ],
  lead_list => [ 'SELECT count(*) FROM entrestate.lead_list(:campaign)', 400 ],
  'lead_list, the next page' => [ "SELECT count(*) FROM entrestate.lead_list(:campaign, '2026-02-01')", 400 ],
  member_add => [ "SELECT entrestate.member_add('someone')", 400 ],
  member_update => [ "SELECT entrestate.member_add('someone'), entrestate.member_update('someone', 'viewer')", 800 ],
  member_remove => [ "SELECT entrestate.member_add('someone'), entrestate.member_remove('someone')", 800 ],
  sender_history => [ 'SELECT count(*) FROM entrestate.sender_history(:lead)', 200 ],
  'sender_history, of a campaign' => [ 'SELECT count(*) FROM entrestate.sender_history(:lead, :campaign)', 200 ],
  # counts the tenant's runs
  sender_queue => [ 'SELECT count(*) FROM entrestate.sender_queue()' ],
  sender_runs_of => [ 'SELECT count(*) FROM entrestate.sender_runs_of(:lead)', 200 ],
  sequence_create => [ "SELECT entrestate.sequence_create(:campaign, jsonb_build_array(jsonb_build_object('channel', 'email', 'template', :template, 'delay', '1 day')))", 600 ],
  sequence_publish => [ "SELECT entrestate.sequence_publish(:campaign, entrestate.sequence_create(:campaign, jsonb_build_array(jsonb_build_object('channel', 'email', 'template', :template, 'delay', '1 day'))))", 1000 ],
  template_create => [ "SELECT entrestate.template_create('T', 'sms', 'Text')", 400 ],
  template_status_set => [ "SELECT entrestate.template_status_set(:template, 1, 'retired')", 500 ],
  tenant_get => [ 'SELECT entrestate.tenant_get()', 100 ],
  tenant_freeze => [ "SELECT entrestate.tenant_freeze('test')", 500 ],
  tenant_unfreeze => [ 'SELECT entrestate.tenant_unfreeze()', 500 ],
  tenant_pause => [ "SELECT entrestate.tenant_pause('test')", 500 ],
  tenant_resume => [ 'SELECT entrestate.tenant_resume()', 500 ],
  tenant_update => [ "SELECT entrestate.tenant_update(name => 'Other')", 500 ],
  tenant_create => [ "SELECT entrestate.tenant_create('Another', 'someone')", 800 ],
  login => [ "SELECT entrestate.login(:t, 'owner')", 100 ],
  login_record => [ "SELECT entrestate.login_record(:t, 'owner', 'login.failed')", 400 ],
  token_mint => [ "SELECT length(entrestate.token_mint(:t, 'owner'))", 100 ],
);
my %others = map { $_ => 1 } (
  # below, by other roles
  qw(sender_process sender_process_tenant sender_next_tenant tick consumer_create consumer_next consumer_events consumer_done consumer_drop),
  # read everything, on purpose
  qw(verify isolation_prove sender_verify code_now code_shipped upkeep),
  # read no table that grows
  qw(can capabilities clock_moved clock_now code_version context current_actor current_member_role current_tenant delay_add
    email_normalise phone_normalise error_codes guard_definition guard_policies guard_policy_is_ours guard_readers guard_root guard_triggers
    login_event_types login_jwt login_request logout run_id schedule_jobs schedule_statements sender_channels
    sender_event_types sender_modes sender_reasons transitions uuid_v7));
my @unknown = grep { !$others{$_} && !$app{$_} } split /\n/, $node->safe_psql('postgres', <<"SQL");
SELECT DISTINCT p.proname FROM pg_proc p
CROSS JOIN unnest('{entrestate_app,entrestate_authenticator,entrestate_worker,entrestate_auditor,entrestate_anon}'::name[]) r
WHERE p.pronamespace = 'entrestate'::regnamespace AND has_function_privilege(r, p.oid, 'EXECUTE') ORDER BY 1
SQL
is("@unknown", '', 'every function that a role may call is in a list of this test');

foreach my $mode (qw(auto force_generic_plan))
{
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
my $due = $node->safe_psql('postgres', 'SELECT count(*) FROM entrestate.sender_due WHERE due_at <= entrestate.clock_now()');
cmp_ok($due, '>', 1000, 'there is something due');
($out, $err) = psql_as('entrestate_worker', "CALL entrestate.sender_process(500);\nSELECT entrestate.tick();");
is($err, '', 'sender_process');
is($node->safe_psql('postgres', 'SELECT count(*) FROM entrestate.sender_due WHERE due_at <= entrestate.clock_now()'), 0,
  'all that was due is decided');
my (%faults, $claimed, $claim_pages);
foreach my $p (logged($from))
{
  my ($text, $plan) = @$p;
  $faults{"$_ in: " . substr($text =~ s/\s+/ /gr, 0, 100)}++ foreach faults($plan);
  if ($text =~ /FOR NO KEY UPDATE OF r/)
  {
    $claimed += $plan->{'Actual Rows'};
    $claim_pages += pages($plan);
  }
}
is(join('; ', sort keys %faults), '', 'processor and ticker: no sequential scan of what grows');
cmp_ok($claim_pages / $claimed, '<', 80, 'a claim reads what it claims');

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
