# What collapses ordinary queues: another session holds a snapshot open for the whole run, so that no dead row can go. What is
# due lies in few rows, so few are dead; the pages that a batch reads stay as many; and when the snapshot is gone and
# vacuum has run, none is left.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use L1 ();
use S3;

my $rows = $ENV{ENTRESTATE_ROWS} || 20_000;
my $batch = 200;
my $node = s3_node('snapshot', 'autovacuum = off', 'shared_buffers = 256MB', 'max_wal_size = 4GB');
s3_database($node, 'held');
s3_tenant($node, 'held', 'crowd', 1);
s3_crowd($node, 'held', 'crowd', $rows);
my $due = $node->safe_psql('held', 'SELECT count(*) FROM entrestate.sender_due');
cmp_ok($due, '<=', $rows / 100 + 2, 'a hundred runs that are due at one instant share a row');

my $reader = L1::Session->new($node->connstr('held'));
$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM entrestate.sender_due');

# a batch each, and the pages that it reads
my $at = L1::Session->new($node->connstr('held'));
my $tenant = $at->query("SET entrestate.clock = '2026-01-05T10:00:00Z'; SELECT t FROM public.made");
my @pages;
for (1 .. $rows / $batch)
{
  my ($buffers) = $at->query("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF) SELECT entrestate.sender_process_tenant('$tenant', $batch)") =~ /Buffers: shared (.*)/;
  my $pages = 0;
  $pages += $_ for $buffers =~ /(?:hit|read)=(\d+)/g;
  push @pages, $pages;
}
is($node->safe_psql('held', 'SELECT count(DISTINCT lead_id) FROM entrestate.sender_events WHERE type IN (10, 11)'), $rows, "$rows runs in " . @pages . ' batches');
is($at->query("SELECT entrestate.sender_process_tenant('$tenant', $batch)"), 0, 'and nothing is left to do');

sub mean { my $sum = 0; $sum += $_ for @_; return $sum / @_; }
# not the first, which fill the session's caches
my ($first, $last) = (mean(@pages[ 5 .. 14 ]), mean(@pages[ -10 .. -1 ]));
# a row for each run would cost a seventh more by now
cmp_ok($last, '<', 1.06 * $first, sprintf 'the last batches read %.0f pages, the first %.0f', $last, $first);

# the claim by itself: where to find what is due, among all that is dead
my $claim = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF) SELECT d.leads FROM entrestate.sender_due d WHERE d.tenant_id = '$tenant' AND d.campaign_id = (SELECT c FROM public.made)
  AND d.version = 1 AND d.step = 0 AND d.due_at <= '2026-01-05T10:00:00Z' ORDER BY d.due_at, d.chunk LIMIT $batch";
my ($hit) = $at->query("SET enable_seqscan = off; $claim; $claim") =~ /.*Buffers: shared hit=(\d+)/s;
cmp_ok($hit, '<=', $rows / 200, "to pass over what is dead of the queue takes $hit pages");

sub vacuum
{
  my ($code, $out, $err) = $node->psql('held', 'VACUUM (VERBOSE) entrestate.sender_due');
  my ($dead) = $err =~ /(\d+) are dead but not yet removable/;
  return $dead;
}
my $dead = vacuum();
cmp_ok($dead, '>=', $due, 'the snapshot kept all of them: the test sees them');
cmp_ok($dead, '<=', 1.1 * $rows / 100 + 10, "$dead dead rows for $rows runs");
$reader->query('COMMIT');
is(vacuum(), 0, 'none is left when it is gone and vacuum has run');
is($node->safe_psql('held', "SELECT count(*) FILTER (WHERE due_at <= '2026-01-05T10:00:00Z'), sum(cardinality(leads)) FROM entrestate.sender_due"), "0|$rows", 'but what is due next');
$_->quit for $at, $reader;
$node->stop;
done_testing();
