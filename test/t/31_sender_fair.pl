# One tenant's burst costs another at most one batch, and a tenant whose batch fails costs the others nothing.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use L1 ();
use S3;

# 1000000 is the law's number (some minutes); the default is for every day
my $rows = $ENV{ENTRESTATE_ROWS} || 15_000;

my $node = s3_node('fair', 'autovacuum = off', 'track_commit_timestamp = on', 'max_wal_size = 4GB');
s3_database($node, 'fair');
s3_tenant($node, 'fair', 'first', 1);
s3_tenant($node, 'fair', 'burst', 1000);
s3_tenant($node, 'fair', 'last', 1);
my ($code, $out, $err) = $node->psql('fair', "SET entrestate.clock = '2026-01-05T10:00:00Z'; CALL entrestate.sender_process(50)");
is($code, 0, 'processed');
is($err, '', 'without a warning');
is($node->safe_psql('fair', 'SELECT name, count(*) FROM entrestate.sender_events e JOIN public.made m ON m.t = e.tenant_id GROUP BY 1 ORDER BY 1'),
  "burst|2000\nfirst|2\nlast|2", 'all of it');
# a batch is a transaction: how many of the burst's were before a small tenant's
is($node->safe_psql('fair', <<'SQL'), "first|t\nlast|t", 'nobody waited for more than one batch of the burst');
WITH batch AS (SELECT DISTINCT m.name, e.txid FROM entrestate.sender_events e JOIN public.made m ON m.t = e.tenant_id WHERE e.type <> 1)
SELECT s.name, (SELECT count(*) FROM batch b WHERE b.name = 'burst' AND b.txid < s.txid) <= 1
FROM batch s WHERE s.name <> 'burst' ORDER BY s.name
SQL
is($node->safe_psql('fair', q{SELECT count(DISTINCT e.txid) FROM entrestate.sender_events e JOIN public.made m ON m.t = e.tenant_id AND m.name = 'burst' WHERE e.type <> 1}),
  '20', 'which took twenty');

# A tenant whose three runs become due while another one with a crowd of due runs is worked on, by one session and by two:
# between the commit that made them due and their decision no session commits more than one batch of the crowd's. The
# sessions are known by the size of their batches.
foreach my $sessions (1, 2)
{
  my $database = "crowd_$sessions";
  s3_database($node, $database);
  s3_tenant($node, $database, $_, 0) for map { "before $_" } 1 .. 3;
  s3_tenant($node, $database, 'crowd', 1);
  s3_tenant($node, $database, $_, 0) for map { "after $_" } 1 .. 3;
  s3_crowd($node, $database, 'crowd', $rows);
  $node->safe_psql($database, 'CREATE TABLE public.due (name text, at timestamptz)');
  my @sizes = (500, 300)[ 0 .. $sessions - 1 ];
  my @at = map { L1::Session->new($node->connstr($database)) } @sizes;
  my $side = L1::Session->new($node->connstr($database));
  # a call ends when there is nothing left for it, also because another session is at it: each comes again
  my @marks = map { $at[$_]->send("SET entrestate.clock = '2026-01-05T10:00:00Z';\n" . ("CALL entrestate.sender_process($sizes[$_]);\n" x 400)) } 0 .. $#at;
  $side->query("SET entrestate.clock = '2026-01-05T10:00:00Z'; SET client_min_messages = warning");
  foreach my $n (1 .. 3)
  {
    # now and then
    do { usleep(2000) } until $side->query("SELECT count(*) FROM entrestate.sender_due WHERE due_at <= '2026-01-05T10:00:00Z'") <= $rows / 100 * (1 - $n / 6);
    foreach my $name ("before $n", "after $n")
    {
      $side->query(<<"SQL");
DO \$\$ DECLARE m public.made; BEGIN SELECT * INTO m FROM public.made WHERE name = '$name'; PERFORM entrestate.login(m.t, 'boss');
  PERFORM entrestate.lead_create('Person ' || i, format('p%s\@example.com', i), campaign => m.c) FROM generate_series(1, 3) i; END \$\$;
INSERT INTO public.due VALUES ('$name', clock_timestamp())
SQL
      is($side->{err}, '', "$name has three due runs") if $side->{err} ne '';
    }
  }
  $at[$_]->wait($marks[$_]) for 0 .. $#at;
  is($_->{err}, '', 'processed') for @at;
  my $between = <<'SQL';
WITH batch AS (
  SELECT m.name, e.txid, count(*) AS runs, pg_xact_commit_timestamp(e.txid::xid) AS at FROM entrestate.sender_events e JOIN public.made m ON m.t = e.tenant_id
  WHERE e.type BETWEEN 10 AND 16 GROUP BY 1, 2)
SELECT d.name, s.runs, coalesce((SELECT max(n) FROM (SELECT count(*) AS n FROM batch b WHERE b.name = 'crowd' AND b.at > d.at AND b.at < s.at GROUP BY b.runs) x), 0) AS crowds,
  (SELECT count(*) FROM batch b WHERE b.name = 'crowd' AND b.at > s.at) > 0 AS early
FROM public.due d LEFT JOIN batch s ON s.name = d.name ORDER BY 1
SQL
  my $found = $node->safe_psql($database, $between);
  is(scalar(() = $found =~ /^(?:before|after) \d\|3\|[01]\|t$/mg), 6, "$sessions sessions: nobody waits for more than one batch of a session, while the crowd goes on") or diag($found);
  is($node->safe_psql($database, q{SELECT count(*) FROM entrestate.sender_due WHERE due_at <= '2026-01-05T10:00:00Z'}), '0', 'all is done');
  if ($rows <= 100_000)
  {
    is($node->safe_psql($database, q{SELECT law, object, detail FROM entrestate.verify() WHERE object !~ '^role '}), '', 'verify() finds nothing');
  }
  $_->quit for @at, $side;
}

# Poison: data that no function accepts and only a superuser can plant. The zone of the tenant is no
# zone any more (the system's zones were updated), the processor must read it to place the next step.
s3_database($node, 'poison');
s3_tenant($node, 'poison', 'before', 2);
s3_tenant($node, 'poison', 'zone', 2);
s3_tenant($node, 'poison', 'after', 120);
$node->safe_psql('poison', <<'SQL');
BEGIN;
SELECT entrestate.login(t, 'boss') FROM public.made WHERE name = 'zone';
UPDATE entrestate.tenants SET time_zone = 'Atlantis/Capital' WHERE tenant_id = (SELECT t FROM public.made WHERE name = 'zone');
COMMIT;
SQL
my $call = "SET entrestate.clock = '2026-01-05T10:00:00Z'; CALL entrestate.sender_process(50)";
($code, $out, $err) = $node->psql('poison', $call);
is($code, 0, 'a tenant whose batch fails does not end the call');
my $tenant = $node->safe_psql('poison', q{SELECT t FROM public.made WHERE name = 'zone'});
like($err, qr/WARNING:  a batch failed and is left for the next call: time zone "Atlantis\/Capital" not recognized\nDETAIL:  Tenant $tenant\./, 'it is a warning that names it');
unlike($err, qr/ERROR/, 'and no error');
my $decided = q{SELECT name, count(*) FILTER (WHERE e.type <> 1) FROM public.made m JOIN entrestate.sender_events e ON e.tenant_id = m.t GROUP BY 1 ORDER BY 1};
is($node->safe_psql('poison', $decided), "after|120\nbefore|2\nzone|0", 'the others are done');
($code, $out, $err) = $node->psql('poison', $call);
like($err, qr/WARNING:  a batch failed/, 'the next call says so again');
$node->safe_psql('poison', <<'SQL');
BEGIN;
SELECT entrestate.login(t, 'boss') FROM public.made WHERE name = 'zone';
SELECT entrestate.tenant_update(time_zone => 'America/Toronto');
COMMIT;
SQL
($code, $out, $err) = $node->psql('poison', $call);
is($err, '', 'mended, it goes on');
is($node->safe_psql('poison', $decided), "after|120\nbefore|2\nzone|2", 'and nothing was lost');

# a cancel is for the caller, whatever tenant is at work
($code, $out, $err) = $node->psql('poison', "SET statement_timeout = '1ms'; SET entrestate.clock = '2026-01-08T10:00:00Z'; CALL entrestate.sender_process(1)");
isnt($code, 0, 'a cancel ends the call');
like($err, qr/canceling statement due to statement timeout/, 'with its own error');
is($node->safe_psql('poison', "SET entrestate.clock = '2026-01-08T10:00:00Z'; CALL entrestate.sender_process(50); $decided"),
  "after|360\nbefore|6\nzone|6", 'and what is due is caught up');
$node->stop;
done_testing();
