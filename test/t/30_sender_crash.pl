# L5: sender_process() is killed (signal 9) at many points; after each restart it goes on, and in the end
# everything is as in a run that nothing disturbed: nothing lost, nothing doubled.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use S3;

my $kills = $ENV{ENTRESTATE_KILLS} // 10;
my $seed = $ENV{ENTRESTATE_SEED} // int(rand(2**31));
srand($seed);
diag("ENTRESTATE_SEED=$seed");

my $node = s3_node('crash', 'restart_after_crash = on', 'autovacuum = off', 'log_min_messages = log');
s3_database($node, 'killed');
s3_tenant($node, 'killed', 'small', 3);
s3_tenant($node, 'killed', 'large', 1500);
s3_tenant($node, 'killed', 'middle', 200);
$node->safe_psql('postgres', 'CREATE DATABASE calm TEMPLATE killed');

my @instants = ('2026-01-05T10:00:00Z', '2026-01-08T10:00:00Z');
foreach my $instant (@instants)
{
  $node->safe_psql('calm', "SET entrestate.clock = '$instant'; CALL entrestate.sender_process(25)");
}
my $want = s3_story($node, 'calm');
my $events = $node->safe_psql('calm', 'SELECT count(*) FROM entrestate.sender_events');
is($events, 4 * 1703, 'the undisturbed run decides everything');

# Starts the processor, kills its backend as soon as there are so many events, and waits until the
# server is back.
sub kill_at
{
  my ($instant, $target) = @_;
  my ($out, $err) = ('', '');
  my $in = "SET entrestate.clock = '$instant';\nSELECT pg_backend_pid();\nCALL entrestate.sender_process(25);\n";
  my $timer = IPC::Run::timer(120);
  my $processor = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('killed') ], '<', \$in, '>', \$out, '2>', \$err, $timer);
  $processor->pump until $out =~ /^(\d+)\s/;
  my ($pid) = $out =~ /^(\d+)\s/;
  my $watch = "SELECT count(*) >= $target OR NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid AND state = 'active') FROM entrestate.sender_events";
  $node->poll_query_until('killed', $watch) or die 'the processor did not get there';
  # anywhere within a batch
  usleep(rand(12_000));
  my $killed = kill('KILL', $pid);
  eval { $processor->finish; };
  $node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back';
  return ($killed && $err =~ /server closed the connection|terminating connection/) ? 1 : 0;
}

my $hits = 0;
my $half = $kills / 2;
foreach my $phase (0, 1)
{
  my $from = 1703 + $phase * 1703;
  foreach my $n (1 .. $half)
  {
    # from the beginning of this instant's work to its end
    my $target = $from + int($n * 1500 / $half) - int(rand(40));
    $hits += kill_at($instants[$phase], $target);
    is($node->safe_psql('killed', <<'SQL'), 't', "kill $n of instant $phase: what there is, is whole");
SELECT NOT EXISTS (SELECT FROM entrestate.sender_events WHERE type BETWEEN 10 AND 16 GROUP BY tenant_id, campaign_id, lead_id, step, attempt HAVING count(*) > 1)
  AND NOT EXISTS (SELECT FROM entrestate.sender_runs r WHERE (SELECT count(*) FROM entrestate.sender_due d WHERE d.tenant_id = r.tenant_id AND d.campaign_id = r.campaign_id
    AND d.version = r.version AND d.step = r.cursor AND d.due_at = r.next_at AND r.lead_id = ANY (d.leads)) <> (r.next_at IS NOT NULL)::integer)
  AND NOT EXISTS (SELECT FROM entrestate.sender_runs r WHERE r.run_seq <> (SELECT count(*) FROM entrestate.sender_events e WHERE e.tenant_id = r.tenant_id AND e.campaign_id = r.campaign_id AND e.lead_id = r.lead_id))
SQL
  }
  $node->safe_psql('killed', "SET entrestate.clock = '$instants[$phase]'; CALL entrestate.sender_process(25)");
}
cmp_ok($hits, '>=', $half, "the processor was hit at work ($hits of " . 2 * int($half) . ')');
# is() would print megabytes
ok(s3_story($node, 'killed') eq $want, 'everything is as in the run that nothing disturbed');
is($node->safe_psql('killed', q{SELECT count(*) FROM entrestate.verify() WHERE object !~ '^role '}), '0', 'verify() finds nothing');
$node->stop;
done_testing();
