# Consumers under load: many writers that commit, roll back, set savepoints and take their time, a
# ticker, upkeep that makes months and moves what spilled, and two consumers, one of which writes
# events itself. At the end every committed event was given to each consumer once.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use L2;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = l2_node('stress');
l2_database($node, 'stress');
l2_flow($node, 'stress', 1);
$node->safe_psql('stress', <<'SQL');
SELECT entrestate.consumer_create('stress');
SELECT entrestate.consumer_create('writer');
-- somewhere in two years, now and then where there is no partition yet
CREATE FUNCTION public.enter(chance integer) RETURNS void LANGUAGE sql AS $$
  SELECT set_config('entrestate.clock', to_char(timestamptz '2026-01-10 00:00:00Z' + make_interval(days => 30 * (chance / 8)), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), true);
  SELECT entrestate.login(id, 'u1') FROM public.tenant WHERE name = CASE WHEN chance % 2 = 0 THEN 'Acme' ELSE 'Beta' END;
$$;
-- a consumer whose work has events of its own, in the transaction that finishes the batch
CREATE PROCEDURE public.eat_and_write() LANGUAGE plpgsql AS $$
DECLARE
  b record;
  t text;
BEGIN
  LOOP
    -- its transaction has an id before it looks
    PERFORM public.enter(0);
    PERFORM entrestate.campaign_create('made of a batch');
    SELECT * INTO b FROM entrestate.consumer_next('writer');
    EXIT WHEN NOT FOUND;
    FOR t IN SELECT public.event_tables() LOOP
      EXECUTE format('INSERT INTO public.seen SELECT ''writer'', %1$L, md5(x::text)
        FROM entrestate.consumer_events(NULL::entrestate.%1$I, $1, $2, $3) x', t) USING b.epoch, b.after, b.upto;
    END LOOP;
    PERFORM entrestate.consumer_done('writer', b.batch);
    COMMIT;
  END LOOP;
  ROLLBACK;
END $$;
SQL

my $dir = PostgreSQL::Test::Utils::tempdir();
my %scripts = (
  commit => "BEGIN;\nSELECT public.enter(:chance);\nSELECT entrestate.campaign_create('c');\nCOMMIT;\n",
  rollback => "BEGIN;\nSELECT public.enter(:chance);\nSELECT entrestate.campaign_create('r');\nROLLBACK;\n",
  savepoints => "BEGIN;\nSELECT public.enter(:chance);\nSAVEPOINT s;\nSELECT entrestate.campaign_create('s');\nROLLBACK TO s;\n"
    . "SAVEPOINT t;\nSELECT entrestate.campaign_create('t');\nRELEASE t;\nSAVEPOINT u;\nSELECT entrestate.campaign_create('u');\nCOMMIT;\n",
  long => "BEGIN;\nSELECT public.enter(:chance);\nSELECT entrestate.campaign_create('l');\n\\sleep 60 ms\nSELECT entrestate.campaign_create('l');\nCOMMIT;\n");
my @files;
for my $name (sort keys %scripts)
{
  PostgreSQL::Test::Utils::append_to_file("$dir/$name.sql", "\\set chance random(0, 190)\n$scripts{$name}");
  push @files, '-f', "$dir/$name.sql@" . { commit => 4, rollback => 2, savepoints => 2, long => 2 }->{$name};
}
my ($out, $err) = ('', '');
my $writers = IPC::Run::start([ 'pgbench', '-n', '-c', '6', '-j', '2', '-t', '250', @files, $node->connstr('stress') ],
  '<', \undef, '>', \$out, '2>', \$err);
my $rounds = 0;
my $moved = 0;
while (1)
{
  $writers->pump_nb;
  my $going = $writers->pumpable;
  $node->safe_psql('stress', 'SELECT entrestate.tick()');
  $node->safe_psql('stress', "CALL public.eat('stress', 1)") if $rounds % 2;
  $node->safe_psql('stress', 'CALL public.eat_and_write()');
  $moved += $node->safe_psql('stress', "SET entrestate.clock = '2026-01-10T00:00:00Z'; SELECT coalesce(entrestate.upkeep(), 0)") if $rounds % 4 == 2;
  $rounds++;
  last if !$going;
}
$writers->finish;
like($out, qr/number of transactions actually processed: 1500\/1500/, 'no writer failed') or diag "$out$err";
unlike($err, qr/ERROR/, '... not once');
cmp_ok($rounds, '>', 5, 'ticks were taken while they wrote');
cmp_ok($moved, '>', 10, 'and months were made');
cmp_ok($node->safe_psql('stress', "SELECT count(DISTINCT date_trunc('month', recorded_at)) FROM entrestate.activity_events"), '>', 12, 'events of many months');

l2_eat($node, 'stress', 'stress');
$node->safe_psql('stress', 'CALL public.eat_and_write()');
# what the writer itself wrote while it read the last batches
l2_eat($node, 'stress', 'writer');
l2_exact($node, 'stress', 'writer', 'the consumer that writes was given every event once, its own included');
l2_eat($node, 'stress', 'stress');
l2_exact($node, 'stress', 'stress', 'the other one, too');
cmp_ok($node->safe_psql('stress', "SELECT count(*) FROM public.seen WHERE consumer = 'writer' AND event_table = 'activity_events'"), '>', 800, 'that was much');
cmp_ok($node->safe_psql('stress', "SELECT count(*) FROM entrestate.campaigns WHERE name = 'made of a batch'"), '>', 5, 'and it wrote');
$node->safe_psql('stress', 'SELECT entrestate.upkeep()');
l2_guards($node, 'stress', 'verify() finds nothing');
done_testing();
