# One tenant's burst costs another at most one batch, and a tenant whose batch fails costs the others nothing.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use S3;

my $node = s3_node('fair', 'autovacuum = off');
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
