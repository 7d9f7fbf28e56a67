# Partitions: the turn of a month and of a year, rows that come too early and too late, two sessions
# of upkeep at once, and a kill -9 in the middle of it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use L2;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = l2_node('upkeep', 'restart_after_crash = on');
l2_database($node, 'up');
l2_flow($node, 'up', 5);

sub where
{
  my ($at) = @_;
  return $node->safe_psql('up', "SELECT DISTINCT tableoid::regclass FROM entrestate.activity_events WHERE recorded_at = '$at' ORDER BY 1");
}
my $parts = q{SELECT string_agg(c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid), E'\n' ORDER BY c.relname)
  FROM pg_class c WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind IN ('r', 'p')};
sub partitions { return $node->safe_psql('up', $parts); }

# Nobody's insert waits for a partition.
my @times = ('2026-12-31T23:59:59.999999Z', '2027-01-01T00:00:00Z', '2028-02-29T23:59:59Z', '2028-03-01T00:00:00Z', '1999-12-31T23:59:59Z', '2100-01-01T00:00:00Z');
my $n = 0;
for my $at (@times)
{
  $n++;
  is(scalar l2_state($node, 'up', "SET entrestate.clock = '$at'; SELECT public.make_tenant('T$n', 1); CALL entrestate.sender_process();"), '00000', "events at $at");
  is(where($at), 'entrestate.activity_events_default', '... lie in the default partition');
}
my $digest = l2_digest($node, 'up');
my $clock = "SET entrestate.clock = '2026-12-15T00:00:00Z';";

# Killed in the middle: hundreds of partitions are to be made, and some are.
{
  my $before = partitions();
  my $worker = $node->background_psql('up', on_error_stop => 0);
  my $pid = $worker->query_safe('SELECT pg_backend_pid()');
  $worker->query_until(qr/begun/, "\\echo begun\n$clock SELECT entrestate.upkeep(120, 120);\n");
  ok($node->poll_query_until('up', "SELECT count(*) > 300 FROM pg_locks WHERE pid = $pid AND locktype = 'relation' AND mode = 'AccessExclusiveLock'"), 'upkeep is in the middle of it');
  is($node->safe_psql('up', "SELECT state FROM pg_stat_activity WHERE pid = $pid"), 'active', '... and not at the end');
  ok(kill('KILL', $pid), 'kill -9');
  ok($node->poll_query_until('up', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"), 'the server recovers');
  eval { $worker->quit };
  is(partitions(), $before, 'every partition is as it was');
  is(l2_digest($node, 'up'), $digest, '... and so is every row');
  l2_guards($node, 'up', '... and every guard');
}

# A writer that holds one table and wants the next is not the victim of a deadlock.
$node->safe_psql('up', "CREATE PROCEDURE public.work(name text) LANGUAGE sql AS \$\$
  SELECT entrestate.login(id, 'u1') FROM public.tenant WHERE name = 'Acme'; SELECT entrestate.campaign_create(name); \$\$");
{
  my $writer = $node->background_psql('up');
  $writer->query_safe("BEGIN; SELECT entrestate.login_record(id, 'u1', 'login.succeeded', NULL, 'sso') FROM public.tenant WHERE name = 'Acme';");
  my $worker = $node->background_psql('up', on_error_stop => 0);
  my $pid = $worker->query_safe('SELECT pg_backend_pid()');
  $worker->query_until(qr/begun/, "\\echo begun\nSET entrestate.clock = '2027-07-15T00:00:00Z'; SELECT entrestate.upkeep(0, 0) > 0;\n");
  ok($node->poll_query_until('up', "SELECT count(*) > 0 FROM pg_locks WHERE pid = $pid AND NOT granted AND relation = 'entrestate.login_audit'::regclass"), 'upkeep waits for the writer');
  $writer->query_safe("CALL public.work('more'); COMMIT;");
  pass('the writer goes on');
  $writer->quit;
  $worker->quit;
  is($node->safe_psql('up', "SELECT to_regclass('entrestate.login_audit_p202707') IS NOT NULL"), 't', 'and so does upkeep, when the writer is done');
}

# A dump reads for hours: upkeep gives way, and nobody waits behind it.
{
  my $reader = $node->background_psql('up');
  $reader->query_safe('BEGIN; LOCK TABLE entrestate.sender_events IN ACCESS SHARE MODE;');
  my $worker = $node->background_psql('up', on_error_stop => 0);
  my $pid = $worker->query_safe('SELECT pg_backend_pid()');
  $worker->query_until(qr/begun/, "\\echo begun\nSET entrestate.clock = '2027-08-15T00:00:00Z'; SELECT entrestate.upkeep(0, 0);\n");
  ok($node->poll_query_until('up', "SELECT count(*) > 0 FROM pg_locks WHERE pid = $pid AND NOT granted AND relation = 'entrestate.sender_events'::regclass"), 'upkeep waits for the reader');
  $node->safe_psql('up', "CALL public.work('meanwhile $_')") for 1 .. 3;
  is($node->safe_psql('up', "SELECT state FROM pg_stat_activity WHERE pid = $pid"), 'active', 'others write while upkeep still tries');
  ok($node->poll_query_until('up', "SELECT state <> 'active' FROM pg_stat_activity WHERE pid = $pid"), 'it gives up');
  $worker->quit;
  l2_fails($node, 'up', "SET entrestate.clock = '2027-08-15T00:00:00Z'; SELECT entrestate.upkeep(0, 0);", '55P03', qr/"sender_events" is in use.*The next call tries again/s, 'and says why');
  is($node->safe_psql('up', "SELECT to_regclass('entrestate.activity_events_p202708') IS NULL"), 't', 'with nothing half done');
  $reader->quit;
}
$digest = l2_digest($node, 'up');

# Two at once: one does it, the other leaves it to the first.
{
  my $first = $node->background_psql('up');
  $first->query_safe("$clock BEGIN;");
  cmp_ok($first->query_safe('SELECT entrestate.upkeep();'), '>', 3, 'upkeep makes what is missing');
  is($node->safe_psql('up', "$clock SELECT entrestate.upkeep() IS NULL"), 't', 'another session leaves it to the first');
  $first->query_safe('COMMIT;');
  $first->quit;
  is($node->safe_psql('up', "$clock SELECT entrestate.upkeep()"), '0', 'and there is nothing left to do');
}
is(l2_digest($node, 'up'), $digest, 'no row has changed');
for my $at (@times)
{
  is(where($at), 'entrestate.activity_events_p' . substr($at, 0, 4) . substr($at, 5, 2), "events at $at are where they belong");
}
is($node->safe_psql('up', 'SELECT count(*) FROM entrestate.activity_events_default'), '0', 'the default partition is empty');
l2_guards($node, 'up', 'the new partitions have all guards');
is($node->safe_psql('up', q{SELECT string_agg(DISTINCT relname, ' ') FROM pg_class WHERE relname ~ 'spill'}), '', 'nothing is left over');
l2_fails($node, 'up', 'TRUNCATE entrestate.activity_events_p202701', 'ZE001', qr/append-only/, 'a new partition is guarded');

# An event between two months finds its partition by the instant, whatever the session's time zone.
$node->safe_psql('up', "SET timezone = 'Pacific/Kiritimati'; SET entrestate.clock = '2027-01-31T12:00:00Z'; SELECT public.make_tenant('Zone', 1);");
is(where('2027-01-31T12:00:00Z'), 'entrestate.activity_events_p202701', 'months are UTC');

# Who may, and what is refused.
$node->safe_psql('up', 'CREATE ROLE up_app LOGIN IN ROLE entrestate_app');
l2_fails($node, 'up', 'SELECT entrestate.upkeep()', '42501', qr/permission denied/, 'an application may not', role => 'up_app');
is($node->safe_psql('up', "SELECT entrestate.upkeep()", extra_params => [ '-U', 'entrestate_worker' ]) ne '', 1, 'the worker may');
l2_fails($node, 'up', "SELECT entrestate.upkeep($_)", '22023', qr/0 to 120/, "upkeep($_)") for '-1', '121', 'NULL', '0, -1', '0, 121';
l2_fails($node, 'up', 'BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT entrestate.upkeep()', '25001', qr/READ COMMITTED/, 'upkeep with an old snapshot');
done_testing();
