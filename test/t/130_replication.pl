# Logical replication of the event tables, by the root and by the partitions: the subscriber has the
# extension and its guards, the rows are copied and applied through them, and nobody changes them
# there.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use L2;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pub = l2_node('publisher');
my $sub = l2_node('subscriber');
l2_database($pub, 'flow');
l2_flow($pub, 'flow', 20);
# nothing in a default partition yet, and the months that the partitions' subscriber needs
my $upkeep = "SET entrestate.clock = '2026-01-19T10:00:00Z'; SELECT entrestate.upkeep(1, 3)";
$pub->safe_psql('flow', $upkeep);
my $tables = $pub->safe_psql('flow', q{SELECT string_agg(format('entrestate.%I', t), ', ') FROM public.event_tables() t});
my $connect = $pub->connstr('flow');
$connect =~ s/'/''/g;

# From 16 on the rows are applied as the table's owner, whom row security binds, too; 15 applies
# them as the subscription's owner, a superuser.
my $as = $sub->pg_version->major >= 16 ? ' WITH (run_as_owner = true)' : '';
my %root = (by_root => 'true', by_partition => 'false');
for my $db (sort keys %root)
{
  l2_database($sub, $db);
  $sub->safe_psql($db, "SET entrestate.clock = '2026-01-19T10:00:00Z'; SELECT entrestate.upkeep(1, 3)");
  $pub->safe_psql('flow', "CREATE PUBLICATION $db FOR TABLE $tables WITH (publish_via_partition_root = $root{$db})");
  $sub->safe_psql($db, "CREATE SUBSCRIPTION $db CONNECTION '$connect' PUBLICATION $db$as");
}
sub events
{
  my ($node, $db) = @_;
  return join "\n", map { $node->safe_psql($db, "SELECT '$_', count(*), md5(coalesce(string_agg(x::text, chr(10) ORDER BY x::text), '')) FROM entrestate.$_ x") }
    split /\n/, $pub->safe_psql('flow', 'SELECT public.event_tables()');
}
sub same
{
  my ($what) = @_;
  my $want = events($pub, 'flow');
  for my $db (sort keys %root)
  {
    $pub->wait_for_catchup($db);
    is(events($sub, $db), $want, "$db: $what");
    is($sub->safe_psql($db, 'SELECT sum(apply_error_count + sync_error_count) FROM pg_stat_subscription_stats'), '0', "$db: ... without an error");
  }
}
$sub->wait_for_subscription_sync($pub, $_, $_) for sort keys %root;
same('the events were copied');
l2_step($pub, 'flow', '2026-02-26T10:00:00Z');
l2_step($pub, 'flow', '2026-03-26T10:00:00Z');
$pub->safe_psql('flow', "SET entrestate.clock = '2026-03-31T23:59:59Z'; SELECT public.make_tenant('Gamma', 5)");
cmp_ok($pub->safe_psql('flow', "SELECT count(*) FROM entrestate.sender_events WHERE recorded_at > '2026-03-01'"), '>', 5, 'more happened');
same('what happened later was applied');

for my $db (sort keys %root)
{
  is($sub->safe_psql($db, 'SELECT * FROM entrestate.isolation_prove()'), '', "$db: the guards are all there");
  for my $role ('', 'SET session_replication_role = replica; ')
  {
    l2_fails($sub, $db, "$role DELETE FROM entrestate.sender_events", 'ZE001', qr/append-only/, "$db: ${role}DELETE");
    l2_fails($sub, $db, "$role UPDATE entrestate.sender_events_p202601 SET reason = 1", 'ZE001', qr/append-only/, "$db: ${role}UPDATE");
    l2_fails($sub, $db, "$role TRUNCATE entrestate.audit_log", 'ZE001', qr/append-only/, "$db: ${role}TRUNCATE");
    l2_fails($sub, $db, "$role INSERT INTO entrestate.audit_log SELECT * FROM entrestate.audit_log", 'ZE002', qr/system alone/, "$db: ${role}INSERT");
  }
}
same('nothing was changed there');

# What spilled into a default partition is moved to its month by each side's upkeep(), and the move is
# published to nobody: not to those who name the tables, not to those who take all.
my $march30 = '2030-03-31T23:59:59Z';
$pub->safe_psql('flow', "SELECT pg_create_logical_replication_slot('everything', 'test_decoding')");
$pub->safe_psql('flow', "SET entrestate.clock = '$march30'; SELECT public.make_tenant('Spill', 2)");
cmp_ok($pub->safe_psql('flow', 'SELECT count(*) FROM entrestate.sender_events_default'), '>', 0, 'events of 2030 lie in the default partition');
same('they were applied');
$pub->safe_psql('flow', q{SELECT count(*) FROM pg_logical_slot_get_changes('everything', NULL, NULL)});
$pub->safe_psql('flow', "SET entrestate.clock = '2026-03-31T23:59:59Z'; SELECT entrestate.upkeep()");
is($pub->safe_psql('flow', 'SELECT count(*) FROM entrestate.sender_events_default'), '0', 'upkeep() moved them');
is($pub->safe_psql('flow', q{SELECT count(*) FROM pg_logical_slot_get_changes('everything', NULL, NULL) WHERE data LIKE '%_events_p%INSERT%'}),
  '0', 'and nothing of the move was decoded');
$sub->safe_psql($_, "SET entrestate.clock = '2026-03-31T23:59:59Z'; SELECT entrestate.upkeep()") for sort keys %root;
$sub->safe_psql('by_partition', 'ALTER SUBSCRIPTION by_partition REFRESH PUBLICATION WITH (copy_data = false)');
$pub->safe_psql('flow', "SET entrestate.clock = '$march30'; SELECT public.make_tenant('After', 2)");
same('what spilled was moved on both sides');
$pub->safe_psql('flow', q{SELECT pg_drop_replication_slot('everything')});
is($sub->safe_psql($_, 'SELECT * FROM entrestate.isolation_prove()'), '', "$_: the moved partitions are guarded") for sort keys %root;
is($pub->safe_psql('flow', 'SELECT * FROM entrestate.isolation_prove()'), '', 'and the publisher\'s');

# A change made behind the guards of the publisher does not get through those of the subscriber.
$pub->safe_psql('flow', "BEGIN; ALTER EVENT TRIGGER entrestate_ddl_end DISABLE; ALTER TABLE entrestate.login_audit DISABLE TRIGGER ALL;
  DELETE FROM entrestate.login_audit; ALTER TABLE entrestate.login_audit ENABLE ALWAYS TRIGGER guard_append_only; COMMIT;");
ok($sub->poll_query_until($_, "SELECT apply_error_count > 0 FROM pg_stat_subscription_stats WHERE subname = '$_'"), "$_: a DELETE is not applied")
  for sort keys %root;
cmp_ok($sub->safe_psql($_, 'SELECT count(*) FROM entrestate.login_audit'), '>', 2, "$_: the events are still there") for sort keys %root;
like(PostgreSQL::Test::Utils::slurp_file($sub->logfile), qr/DELETE is refused: table "login_audit\w*" is append-only/, 'and the log says why');
$sub->safe_psql($_, "ALTER SUBSCRIPTION $_ DISABLE; ALTER SUBSCRIPTION $_ SET (slot_name = NONE); DROP SUBSCRIPTION $_") for sort keys %root;
done_testing();
