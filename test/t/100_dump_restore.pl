# Dump and restore, custom and plain: into fresh clusters with lower and with higher transaction ids,
# into the same cluster, months later, and once more from a restored one. The content is identical,
# nothing happens by it, the flow goes on, and consumers lose and repeat nothing.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use L2;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $a = l2_node('dump_source');
l2_database($a, 'flow');
# tools are made by the flow; transaction ids well ahead of a fresh cluster's
l2_flow($a, 'flow', 100);
l2_burn($a, 'flow', 20000);
l2_step($a, 'flow', '2026-01-19T11:00:00Z');
$a->safe_psql('flow', 'SELECT entrestate.tick()');
$a->safe_psql('flow', "SET entrestate.clock = '2026-01-19T12:00:00Z'; SELECT public.make_tenant('Gamma', 5);");
# too early for any month: something lies in a default partition
$a->safe_psql('flow', "SET entrestate.clock = '2020-01-19T12:00:00Z'; SELECT public.make_tenant('Delta', 1);");
l2_guards($a, 'flow', 'all is well before the dump');
my $content = l2_digest($a, 'flow');
my $schema = schema_of($a, 'flow');
my ($custom, $plain) = map { PostgreSQL::Test::Utils::tempdir() . "/flow.$_" } qw(custom sql);
$a->command_ok([ 'pg_dump', '-Fc', '-f', $custom, $a->connstr('flow') ], 'dump, custom');
$a->command_ok([ 'pg_dump', '-f', $plain, $a->connstr('flow') ], 'dump, plain');
is(l2_digest($a, 'flow'), $content, 'a dump changes nothing');

my $low = l2_node('dump_low');
my $high = l2_node('dump_high');
$high->safe_psql('postgres', 'CREATE PROCEDURE burn(n integer) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1 .. n LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
$high->safe_psql('postgres', 'CALL burn(60000)');
sub next_xid { return $_[0]->safe_psql('postgres', 'SELECT pg_snapshot_xmax(pg_current_snapshot())'); }
cmp_ok(next_xid($low), '<', next_xid($a) - 15000, 'a cluster with lower transaction ids');
cmp_ok(next_xid($high), '>', next_xid($a) + 15000, 'a cluster with higher transaction ids');

sub schema_of
{
  my ($node, $db) = @_;
  my ($out, $err);
  $node->run_log([ 'pg_dump', '--schema-only', $node->connstr($db) ], '>', \$out, '2>', \$err) or die $err;
  # a key of the dump's own
  return join "\n", grep { !/^\\(un)?restrict / && !/^-- Dumped/ } split /\n/, $out;
}
sub restore
{
  my ($node, $db, $how, $file) = @_;
  $node->safe_psql('postgres', "CREATE DATABASE $db");
  if ($how eq 'custom')
  {
    $node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr($db), $file ], "$db: pg_restore");
  }
  else
  {
    $node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', $file ], "$db: psql");
  }
}

# The flow goes on; what is new is of the cluster's epoch.
sub goes_on
{
  my ($node, $db, $epoch, $clock) = @_;
  my $was = l2_digest($node, $db, 'events');
  my $max = $node->safe_psql($db, 'SELECT count(*) FROM entrestate.sender_events');
  $node->safe_psql($db, "SET entrestate.clock = '$clock'; SELECT entrestate.upkeep();");
  is(l2_digest($node, $db, 'events'), $was, "$db: upkeep changes no event");
  l2_step($node, $db, $clock);
  cmp_ok($node->safe_psql($db, 'SELECT count(*) FROM entrestate.sender_events'), '>', $max, "$db: the flow goes on");
  is($node->safe_psql($db, "SELECT DISTINCT epoch FROM entrestate.sender_events WHERE recorded_at >= '$clock'"), $epoch, "$db: new events have epoch $epoch");
  # a writer that is open at the first tick here, and one that is done before it
  my $session = $node->background_psql($db);
  $session->query_safe("BEGIN; SET LOCAL entrestate.clock = '$clock'; SELECT public.make_tenant('open', 2);");
  l2_eat($node, $db, 'halfway');
  $session->query_safe('COMMIT;');
  $session->quit;
  l2_step($node, $db, $clock);
  for my $consumer (qw(halfway late))
  {
    l2_eat($node, $db, $consumer);
    l2_exact($node, $db, $consumer, "$db: consumer $consumer was given every event once");
  }
  l2_guards($node, $db, "$db: verify() finds nothing");
  l2_fails($node, $db, 'DELETE FROM entrestate.sender_events', 'ZE001', qr/append-only/, "$db: events are guarded");
  l2_fails($node, $db, 'SET session_replication_role = replica; TRUNCATE entrestate.audit_log_default', 'ZE001', qr/append-only/, "$db: partitions are guarded, always");
}

for my $case (
  [ $low, 'low_custom', 'custom', 2, '2026-01-26T10:00:00Z' ],
  [ $low, 'low_plain_later', 'plain', 2, '2026-04-20T10:00:00Z' ],
  [ $high, 'high_custom_later', 'custom', 2, '2026-04-20T10:00:00Z' ],
  [ $high, 'high_plain', 'plain', 2, '2026-01-26T10:00:00Z' ],
  [ $a, 'same_cluster', 'custom', 1, '2026-04-20T10:00:00Z' ])
{
  my ($node, $db, $how, $epoch, $clock) = @$case;
  restore($node, $db, $how, $how eq 'custom' ? $custom : $plain);
  is(l2_digest($node, $db), $content, "$db: the content is identical, and nothing happened");
  is(schema_of($node, $db), $schema, "$db: tables, owners, policies, triggers and grants are identical");
  l2_guards($node, $db, "$db: verify() finds nothing after the restore");
  goes_on($node, $db, $epoch, $clock);
}

# Restored again, into a third cluster: two epochs are closed there. One consumer's database never
# ticked in between.
{
  restore($low, 'unticked', 'custom', $custom);
  $low->safe_psql('unticked', "SET entrestate.clock = '2026-01-26T10:00:00Z'; SELECT entrestate.upkeep();");
  l2_step($low, 'unticked', '2026-01-26T10:00:00Z');
  my $second = "$custom.second";
  $low->command_ok([ 'pg_dump', '-Fc', '-f', $second, $low->connstr('unticked') ], 'a dump of the restored database');
  restore($high, 'twice', 'custom', $second);
  goes_on($high, 'twice', 3, '2026-04-20T10:00:00Z');
  is($high->safe_psql('twice', 'SELECT count(*) FROM entrestate.epochs'), '3', 'three epochs');

  # What is left of a closed epoch is finished once: to say so again does not skip the next one.
  $high->safe_psql('twice', "SELECT entrestate.consumer_create('again')");
  my $batch = 'SELECT batch FROM entrestate.consumer_next(\'again\')';
  # the ticks of the first epoch, then its rest
  while ((my $b = $high->safe_psql('twice', $batch)) > 0)
  {
    $high->safe_psql('twice', "SELECT entrestate.consumer_done('again', $b)");
  }
  is($high->safe_psql('twice', $batch), '-1', 'the rest of the first epoch');
  $high->safe_psql('twice', q{SELECT entrestate.consumer_done('again', -1)});
  l2_fails($high, 'twice', q{SELECT entrestate.consumer_done('again', -1)}, '55000', qr/not open/, 'done twice');
  is($high->safe_psql('twice', $batch), '-2', 'the rest of the second one comes next');
  l2_fails($high, 'twice', q{SELECT entrestate.consumer_done('again', -3)}, '55000', qr/not open/, 'the open epoch is not closed');
  $high->safe_psql('twice', q{SELECT entrestate.consumer_done('again', -2)});
  l2_fails($high, 'twice', q{SELECT entrestate.consumer_done('again', -2)}, '55000', qr/not open/, 'nor is the second one finished twice');
  cmp_ok($high->safe_psql('twice', $batch), '>', 0, 'then the ticks of this cluster');
}

# What would take guards away while it restores is refused, and says so.
{
  l2_database($low, 'data_only');
  my ($out, $err);
  my $ok = $low->run_log([ 'pg_restore', '--data-only', '--disable-triggers', '--exit-on-error', '-d', $low->connstr('data_only'), $custom ], '>', \$out, '2>', \$err);
  ok(!$ok, 'pg_restore --disable-triggers is refused');
  like($err, qr/switching triggers is refused/, '... and says why');
  is($low->safe_psql('data_only', 'SELECT count(*) FROM entrestate.activity_events'), '0', '... with nothing restored');
  $ok = $low->run_log([ 'pg_restore', '--clean', '--exit-on-error', '-d', $low->connstr('low_custom'), $custom ], '>', \$out, '2>', \$err);
  ok(!$ok, 'pg_restore --clean over a database in use is refused');
  l2_guards($low, 'low_custom', '... which stays as it was');
}

done_testing();
