# The demo's story (test/demo/flow) repeats exactly from its seed, every run is the fold of its events, the balance is
# exact at the end and at commits in between, and every reason of the sender occurs in it or in a named test.
use strict;
use warnings;
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use S3;

my $top = "$FindBin::Bin/../..";
my $demo = "$top/test/demo";
my $node = s3_node('demo', 'autovacuum = off');
my $leads = PostgreSQL::Test::Utils::tempdir() . '/leads.tsv';
system("perl $demo/sample.pl 160 | perl $demo/leads.pl > $leads") == 0 or die 'no leads';

# ---------------------------------------------------------------- twice with a seed, some days with another, side by side
# (a seed and a sample with which all reasons occur that can)
my %flow;
foreach my $run ([ 'other', 2, 'UTC', 'ISO, MDY', 5 ], [ 'one', 5, 'UTC', 'ISO, MDY', 16 ], [ 'two', 5, 'Asia/Tokyo', 'German, DMY', 16 ])
{
  my ($db, $seed, $zone, $style, $days) = @$run;
  $node->safe_psql('postgres', "CREATE DATABASE $db");
  # what must not matter: the session's settings
  $node->safe_psql('postgres', "ALTER DATABASE $db SET datestyle = '$style'");
  my %out = (out => '', err => '');
  $out{h} = IPC::Run::start(
    [ 'env', 'PGHOST=' . $node->host, 'PGPORT=' . $node->port, "PGDATABASE=$db", "SEED=$seed", "PGTZ=$zone", "DAYS=$days", 'STEP=1 hour', 'bash', "$demo/flow", $leads ],
    '<', \undef, '>', \$out{out}, '2>', \$out{err}, IPC::Run::timer(600));
  $flow{$db} = \%out;
  # one after the other as far as roles are made, which belong to the cluster
  $node->poll_query_until($db, q{SELECT to_regclass('demo.campaigns') IS NOT NULL}) or die "$db does not begin: $out{err}";
}

# A second session looks at the balance while the first works: each look is one snapshot, between two commits.
$node->poll_query_until('one', q{SELECT count(*) = 6 FROM demo.campaigns}) or die 'there are no campaigns';
$node->safe_psql('one', <<'SQL');
CREATE TABLE public.stop ();
CREATE TABLE public.looked (tenant integer, outcomes numeric, steps numeric, holds boolean);
CREATE PROCEDURE public.look() LANGUAGE plpgsql AS $$
BEGIN
  LOOP
    FOR t IN 1 .. 2 LOOP
      PERFORM demo.enter(t);
      INSERT INTO public.looked SELECT t, sum(b.sent + b.failed + b.unknown + b.skipped + b.simulated), sum(b.steps), bool_and(b.holds) FROM entrestate.sender_balance() b;
      COMMIT;
    END LOOP;
    EXIT WHEN to_regclass('public.stop') IS NULL;
    PERFORM pg_sleep(0.1);
  END LOOP;
END
$$;
SQL
my ($looked, $failed) = ('', '');
my $look = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('one'), '-c', 'CALL public.look()' ], '<', \undef, '>', \$looked, '2>', \$failed, IPC::Run::timer(600));
foreach my $db (sort keys %flow)
{
  $flow{$db}{h}->finish;
  is($flow{$db}{err}, '', "the demo's story, $db");
}
$node->safe_psql('one', 'DROP TABLE public.stop');
$look->finish;
is($failed, '', 'somebody looked');
is($node->safe_psql('one', 'SELECT bool_and(holds) FROM public.looked'), 't', 'the balance was exact each time');
cmp_ok($node->safe_psql('one', 'SELECT count(DISTINCT (tenant, outcomes, steps)) FROM public.looked'), '>=', 20, 'while it changed');

my %events;
foreach my $db (sort keys %flow)
{
  my $last = $node->safe_psql($db, q{SELECT to_char(max(recorded_at) AT TIME ZONE 'UTC' + interval '3 hours', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM entrestate.sender_events});
  $node->safe_psql($db, "SET entrestate.clock = '$last'; SET ROLE entrestate_worker; CALL entrestate.sandbox_report(); CALL entrestate.sender_process()");
  $events{$db} = run_events($db);
}

sub run_events
{
  my ($db) = @_;
  local $ENV{PGTZ} = 'UTC';
  local $ENV{PGOPTIONS} = '-c datestyle=ISO';
  my ($out, $err) = run_command([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', "$demo/events.sql" ]);
  return $out;
}
my $n = () = $events{one} =~ /^/mg;
cmp_ok($n, '>', 1000, "$n events");
# is() would print megabytes
ok($events{one} eq $events{two}, 'the same seed gives the same events') or diag(first_difference($events{one}, $events{two}));
# as far as the other one went
my ($until) = sort { $b cmp $a } $events{other} =~ /^([^|]+)/mg;
my $part = join '', grep { /^([^|]+)/ && $1 lt $until } $events{one} =~ /^.*\n/mg;
my $others = join '', grep { /^([^|]+)/ && $1 lt $until } $events{other} =~ /^.*\n/mg;
ok(length $part && length $others && $part ne $others, 'another seed gives others');

sub first_difference
{
  my @a = split /\n/, $_[0];
  my @b = split /\n/, $_[1];
  foreach my $i (0 .. ($#a > $#b ? $#a : $#b))
  {
    return ($a[$i] // 'nothing') . "\n" . ($b[$i] // 'nothing') if ($a[$i] // '') ne ($b[$i] // '');
  }
  return 'none';
}

foreach my $db (sort keys %flow)
{
  # what is not compared follows from the run's id
  is($node->safe_psql($db, <<'SQL'), 't', "$db: each variant is the one of its run");
SELECT count(*) > 5 AND bool_and(e.variant = entrestate.step_variant(entrestate.run_id(e.campaign_id, e.lead_id), e.step,
  ARRAY(SELECT (v.it ->> 'weight')::integer FROM jsonb_array_elements(s.variants) WITH ORDINALITY v(it, o) ORDER BY v.o)))
FROM entrestate.sender_events e JOIN entrestate.sender_steps s ON s.tenant_id = e.tenant_id AND s.campaign_id = e.campaign_id
  AND s.version = e.sequence_version AND s.step = e.step WHERE s.variants IS NOT NULL AND e.run_seq IS NOT NULL
SQL
  is($node->safe_psql($db, q{SELECT count(*) > 100 AND count(*) = (SELECT count(*) FROM entrestate.sender_runs) AND bool_and(differs = '{}' AND gaps = '[]') FROM demo.replayed()}),
    't', "$db: sender_replay() gives every run");
  is($node->safe_psql($db, "SELECT bool_and(b.holds), count(*) FROM demo.enter($_), entrestate.sender_balance() b"), 't|3', "$db: the balance of tenant $_ is exact")
    foreach 1, 2;
  is($node->safe_psql($db, q{SELECT * FROM entrestate.verify() WHERE object !~ '^role '}), '', "$db: verify() finds nothing");
}

# ---------------------------------------------------------------- every reason, in the demo or in a named test
my @reasons = slurp_file("$top/src/sender/sender.h") =~ /^#define SENDER_REASONS.*?\n((?:\s+X\(.*\n)+)/m ? $1 =~ /"(\w+)"/g : ();
is($node->safe_psql('one', 'SELECT count(*) FROM entrestate.sender_reasons()'), scalar @reasons, 'all reasons are known to this test');
my %met = map { $_ => 1 } map { split /\n/, $node->safe_psql($_, 'SELECT demo.reasons()') } keys %flow;
my %place;
foreach my $line (grep { !/^#/ } split /\n/, slurp_file("$top/test/reasons"))
{
  my ($reason, $in, $file, $words) = $line =~ /^(\S+)\s+(demo|-)\s+(\S+)\s+(.+)$/ or die "test/reasons: $line";
  ok(!$place{$reason}++, "$reason has one line") if $place{$reason};
  $place{$reason} = 1;
  ok(named($reason, $file, $words), "$reason: \"$words\" in $file");
  is($met{$reason} ? 'demo' : '-', $in, "$reason: whether the demo comes to it");
}
is_deeply([ sort keys %place ], [ sort @reasons ], 'every reason has its place');
ok(!named('no_such_reason', 'test/pgtap/sender_decide.sql', 'no consent'), 'a reason that no test names is found out');

# Whether a line of a test has these words and the reason.
sub named
{
  my ($reason, $file, $words) = @_;
  return 0 unless -f "$top/$file";
  $words =~ s/'/''/g;
  return scalar grep { index($_, $words) >= 0 && /\b$reason\b/ } split /\n/, slurp_file("$top/$file");
}

$node->stop;
done_testing();
