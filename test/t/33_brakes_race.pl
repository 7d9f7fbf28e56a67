# Everything that starts or brakes a run, at once and on the same few people: forms, imports, signals one by one and
# in batches, tickets, opt-outs, merges, cooled leads, campaigns that stop and go, and the processor. Nobody waits in
# a circle (the server's log has no deadlock), and in the end everything is as its history says. Then once more, and
# a backend is killed (signal 9) in the midst of it.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use S3;

my $seconds = $ENV{ENTRESTATE_RACE_SECONDS} // 6;
my $seed = $ENV{ENTRESTATE_SEED} // int(rand(2**31));
diag("ENTRESTATE_SEED=$seed");

my $node = s3_node('race', 'restart_after_crash = on', 'deadlock_timeout = 100ms', 'log_min_messages = log', 'max_connections = 40');
$node->safe_psql('postgres', 'CREATE DATABASE race');
$node->safe_psql('race', <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION entrestate;
SELECT entrestate.migrate(), entrestate.upkeep();
CREATE TABLE public.made (t uuid, c uuid[]);
DO $$
DECLARE
  t uuid := entrestate.tenant_create('Race', 'boss', 'sandbox', 'America/Toronto');
  m uuid;
  c uuid[];
BEGIN
  PERFORM entrestate.login(t, 'boss'), entrestate.tenant_update(dry_run => false), entrestate.channel_set('email', true);
  m := entrestate.template_create('m', 'email', 'b', 's');
  PERFORM entrestate.template_status_set(m, 1, 'approved');
  FOR i IN 1 .. 3 LOOP
    c[i] := entrestate.campaign_create('c' || i, bindings => jsonb_build_object('forms', jsonb_build_array('f' || i)));
    -- steps that come due while the test runs, and one that does not
    PERFORM entrestate.sequence_create(c[i], jsonb_build_array(jsonb_build_object('channel', 'email', 'template', m, 'delay', '0'),
      jsonb_build_object('channel', 'email', 'template', m, 'delay', '200 milliseconds'),
      jsonb_build_object('channel', 'email', 'template', m, 'delay', '1 second'), jsonb_build_object('channel', 'email', 'template', m, 'delay', '1 day')));
    PERFORM entrestate.sequence_publish(c[i], 1), entrestate.campaign_status_set(c[i], 'active'),
      entrestate.campaign_update(c[i], sender_enabled => true, runs_on_import => i = 2);
  END LOOP;
  INSERT INTO public.made VALUES (t, c);
END
$$;
CREATE FUNCTION public.email(n integer) RETURNS text LANGUAGE sql AS $$ SELECT format('p%s@example.com', n) $$;
CREATE FUNCTION public.phone(n integer) RETURNS text LANGUAGE sql AS $$ SELECT '+1416555' || to_char(1000 + n, 'FM0000') $$;
-- who has an address now: addresses wander from lead to lead
CREATE FUNCTION public.lead(n integer) RETURNS uuid LANGUAGE sql AS $$ SELECT lead_id FROM entrestate.lead_contacts WHERE address_norm = public.email(n) $$;
CREATE FUNCTION public.ticket(n integer) RETURNS uuid LANGUAGE sql AS
  $$ SELECT ticket_id FROM entrestate.handoff_tickets WHERE lead_id = public.lead(n) AND status <> 'resolved' $$;
CREATE FUNCTION public.act(what text, n integer, m integer, o integer, k integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  s public.made;
BEGIN
  SELECT * INTO s FROM public.made;
  PERFORM entrestate.login(s.t, 'boss');
  CASE what
    -- some of them leave the window in a second
    WHEN 'signal' THEN PERFORM entrestate.signal_add(public.lead(n), (ARRAY['open', 'click', 'chat_message', 'reply', 'call_request'])[1 + m % 5],
      clock_timestamp() - CASE WHEN o > 25 THEN interval '30 days' - interval '1 second' ELSE interval '0' END, reference => 'r' || o);
    WHEN 'batch' THEN PERFORM entrestate.signals_add(ARRAY[public.lead(n), public.lead(m), public.lead(o)], ARRAY['open', 'reply', 'visit_request']);
    WHEN 'form' THEN PERFORM entrestate.lead_create('N', public.email(n), public.phone(m), campaign => s.c[k], source => 'form');
    WHEN 'unresolved' THEN PERFORM entrestate.lead_create('N', public.email(n), public.phone(m), attribution => jsonb_build_object('form', 'x' || k), source => 'form');
    WHEN 'bind' THEN PERFORM entrestate.campaign_update(s.c[k], bindings => jsonb_build_object('forms', jsonb_build_array('x' || 1 + n % 3)));
    WHEN 'again' THEN PERFORM entrestate.lead_resolve_again();
    WHEN 'import' THEN PERFORM entrestate.lead_import(jsonb_build_array(jsonb_build_object('email', public.email(n), 'phone', public.phone(m)),
      jsonb_build_object('email', public.email(o), 'phone', public.phone(n))), campaign => s.c[k]);
    WHEN 'ticket' THEN PERFORM entrestate.handoff_open(public.lead(n), 'x');
    WHEN 'take' THEN PERFORM entrestate.handoff_take(public.ticket(n));
    WHEN 'resolve' THEN PERFORM entrestate.handoff_resolve(public.ticket(n), 'ok');
    WHEN 'cool' THEN PERFORM entrestate.lead_cool(public.lead(n), 'x');
    WHEN 'opt_out' THEN PERFORM entrestate.lead_opt_out(public.lead(n), 'email');
    WHEN 'opt_in' THEN PERFORM entrestate.lead_opt_in(public.lead(n), 'email');
    WHEN 'merge' THEN PERFORM entrestate.lead_merge(public.lead(n), public.lead(m));
    -- an address is free again: the next form makes a new lead
    WHEN 'remove' THEN PERFORM entrestate.lead_contact_remove(public.lead(n), 'email', public.email(n));
    WHEN 'remove_phone' THEN PERFORM entrestate.lead_contact_remove((SELECT lead_id FROM entrestate.lead_contacts WHERE address_norm = public.phone(n)), 'phone', public.phone(n));
    WHEN 'add' THEN PERFORM entrestate.lead_contact_add(public.lead(n), 'phone', public.phone(m));
    WHEN 'attribute' THEN PERFORM entrestate.lead_attribute(public.lead(n), s.c[k]);
    WHEN 'start' THEN PERFORM entrestate.sender_start(s.c[k], public.lead(n));
    WHEN 'toggle' THEN PERFORM entrestate.campaign_status_set(s.c[k], CASE WHEN n % 3 = 0 THEN 'paused' ELSE 'active' END);
    WHEN 'backfill' THEN PERFORM entrestate.campaign_backfill(s.c[k], '2020-01-01Z', true);
    WHEN 'settings' THEN PERFORM entrestate.score_settings_set(hot_threshold => 21);
  END CASE;
EXCEPTION
  -- what the call may say: there is none, it is done already, somebody else was first
  WHEN SQLSTATE '55000' OR SQLSTATE 'P0002' OR SQLSTATE '23505' OR SQLSTATE '22004' OR SQLSTATE '22023' OR SQLSTATE '54000' THEN
    NULL;
END
$$;
SELECT public.act('form', i, i, i, 1 + i % 3) FROM generate_series(1, 50) i;
SQL

my %weight = (signal => 10, batch => 5, form => 8, unresolved => 3, bind => 1, again => 2, import => 3, ticket => 4, take => 3, resolve => 5, cool => 3,
  opt_out => 3, opt_in => 3, merge => 2, remove => 4, remove_phone => 6, add => 2, attribute => 4, start => 3, toggle => 3, backfill => 2, settings => 1);
my $dir = PostgreSQL::Test::Utils::tempdir();
my @files;
sub script
{
  my ($name, $weight, $sql) = @_;
  append_to_file("$dir/$name.sql", $sql);
  push @files, '-f', "$dir/$name.sql\@$weight";
}
my $dice = join '', map { "\\set $_ random(1, " . ($_ eq 'k' ? 3 : 50) . ")\n" } qw(n m o k);
script($_, $weight{$_}, "${dice}SELECT public.act('$_', :n, :m, :o, :k);\n") for sort keys %weight;
# pgbench tries those again that fail to serialize; their share is small, since a deadlock would be tried again, too
script("repeatable_$_", 1, "${dice}BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT public.act('$_', :n, :m, :o, :k);\nCOMMIT;\n") for qw(signal form);
script('serializable', 1, "${dice}BEGIN ISOLATION LEVEL SERIALIZABLE;\nSELECT public.act('signal', :n, :m, :o, :k);\nCOMMIT;\n");
script('process', 5, "CALL entrestate.sender_process(20);\n");
script('upkeep', 2, "SELECT entrestate.sender_upkeep_tenant(t) FROM public.made;\n");
script('decay', 2, "SELECT entrestate.scores_decay_tenant(t) FROM public.made;\n");
my @pgbench = ('pgbench', '-n', '-c', 8, '-j', 2, "--random-seed=$seed", '--max-tries=1000', @files, $node->connstr('race'));

# What verify() finds, and two things that no verify() could excuse.
sub whole
{
  my ($name) = @_;
  is($node->safe_psql('race', q{SELECT law, object, detail FROM entrestate.verify() WHERE object !~ '^role '}), '', "$name: verify() finds nothing");
  is($node->safe_psql('race', q{SELECT count(*) FROM entrestate.sender_events e JOIN entrestate.sender_events b USING (tenant_id, campaign_id, lead_id)
    JOIN entrestate.sender_event_types() y ON y.code = b.type AND y.name LIKE 'sender.suppressed\_%' WHERE e.run_seq > b.run_seq}), 0, '... and nothing comes after a brake');
  is($node->safe_psql('race', q{SELECT count(*) FROM entrestate.lead_contacts c JOIN entrestate.leads l USING (tenant_id, lead_id) WHERE l.merged_into IS NOT NULL}), 0,
    '... and who was merged away has no address');
  return;
}

my ($out, $err) = ('', '');
IPC::Run::run([ @pgbench, '-T', $seconds ], '<', \undef, '>', \$out, '2>', \$err);
unlike("$out$err", qr/ERROR|FATAL|aborted/, 'no call failed otherwise than it may') or diag("$out$err");
my ($done) = $out =~ /actually processed: (\d+)/;
cmp_ok($done // 0, '>', 50 * $seconds, "they did much ($done)");
my $log = slurp_file($node->logfile);
my @deadlocks = $log =~ /^(.*deadlock detected.*\n(?:.*\n){0,12})/mg;
is(scalar @deadlocks, 0, 'no deadlock') or diag($deadlocks[0]);
my @errors = grep { !/could not serialize|deadlock detected/ } $log =~ /ERROR: +(.*)/g;
is("@errors", '', 'nor another error in the log');
whole('at the end');
# what is rare comes in the end, however slow the machine is
my $happened = q{SELECT string_agg(what || CASE WHEN n > 0 THEN '' ELSE ': none' END, ', ' ORDER BY what) FROM (
  SELECT 'merged' AS what, count(*) AS n FROM entrestate.leads WHERE merged_into IS NOT NULL
  UNION ALL SELECT 'opted out', count(*) FROM entrestate.leads WHERE opted_out_at IS NOT NULL
  UNION ALL SELECT 'cooled', count(*) FROM entrestate.audience_actions WHERE type = 'lead.cooled'
  UNION ALL SELECT 'resolved', count(*) FROM entrestate.handoff_tickets WHERE status = 'resolved'
  UNION ALL SELECT 'hot', count(*) FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type WHERE y.name = 'sender.suppressed_hot'
  UNION ALL SELECT 'merged runs', count(*) FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type WHERE y.name = 'sender.suppressed_merged'
  UNION ALL SELECT 'sent', count(*) FROM entrestate.sender_events WHERE type = 10) x};
for my $more (1 .. 10)
{
  last if $node->safe_psql('race', $happened) !~ /none/;
  my @again = map { /^--random-seed/ ? "--random-seed=" . ($seed + $more) : $_ } @pgbench;
  IPC::Run::run([ @again, '-T', 2 ], '<', \undef, '>', \$out, '2>', \$err);
  unlike("$out$err", qr/ERROR|FATAL|aborted/, 'nor did any of some more') or diag("$out$err");
}
is($node->safe_psql('race', $happened),
  'cooled, hot, merged, merged runs, opted out, resolved, sent', 'all of it happened');

# once more, until one of them is killed
my $before = $node->safe_psql('race', 'SELECT count(*) FROM entrestate.activity_events');
my $racers = IPC::Run::start([ @pgbench, '-T', 120 ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timer(240));
$node->poll_query_until('race', "SELECT count(*) > $before + 300 FROM entrestate.activity_events") or die 'they did not begin';
# one that has written something, and is not done
my $pid;
for (1 .. 1000)
{
  $pid = $node->safe_psql('race', q{SELECT pid FROM pg_stat_activity WHERE datname = 'race' AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL LIMIT 1});
  last if $pid;
}
ok($pid && kill('KILL', $pid), 'one of them is killed in its transaction') or $racers->kill_kill;
eval { $racers->finish; };
$node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back';
whole('after the crash');
$node->safe_psql('race', 'CALL entrestate.sender_process()');
whole('and when the sender went on');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'no deadlock in all this');
$node->stop;
done_testing();
