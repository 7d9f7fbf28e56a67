# L3, L5: the processor is killed (signal 9) at random points, wherever it is, two sessions at work; after each restart it
# goes on, and in the end everything is as in a run that nothing disturbed: nothing lost, nothing doubled.
#
# ENTRESTATE_KILLS=200 is as many as the law asks for (two minutes); the default is for every day.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use L1 ();
use S3;

my $kills = $ENV{ENTRESTATE_KILLS} // 15;
my $seed = $ENV{ENTRESTATE_SEED} // int(rand(2**31));
srand($seed);
diag("ENTRESTATE_SEED=$seed");

my $node = s3_node('crash', 'restart_after_crash = on', 'autovacuum = off', 'log_min_messages = log', 'shared_buffers = 16MB');
s3_world($node, 'world', 4, 40);
$node->safe_psql('postgres', "CREATE DATABASE calm TEMPLATE world");

my @work = ('CALL entrestate.sandbox_report(2)', 'CALL entrestate.sender_process(2)');
my $calm = L1::Session->new($node->connstr('calm'));
my %takes;
foreach my $n (0 .. $#s3_instants)
{
  $calm->query("SET entrestate.clock = '$s3_instants[$n]'; CALL public.happen($n)");
  foreach my $sql (@work)
  {
    my $begun = time;
    $calm->query($sql);
    $takes{"$n $sql"} = time - $begun;
  }
}
$calm->quit;
my $want = s3_world_story($node, 'calm');

# Waits until the server's log says that it is ready again, after $from.
sub back
{
  my ($from) = @_;
  for (1 .. 6000)
  {
    return if slurp_file($node->logfile, $from) =~ /ready to accept connections/;
    usleep(10_000);
  }
  die 'the server did not come back';
}

# Two sessions do their work of an instant; one is killed some time after it began, if it was not done by then.
# Returns whether it was.
sub kill_one
{
  my ($database, $instant, $sql, $after) = @_;
  my @at;
  foreach my $who (0, 1)
  {
    $at[$who]{in} = "SET entrestate.clock = '$instant';\nSELECT pg_backend_pid();\n$sql;\n\\echo done\n";
    $at[$who]{timer} = IPC::Run::timer(120);
    $at[$who]{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database) ],
      '<', \$at[$who]{in}, '>', \$at[$who]{out}, '2>', \$at[$who]{err}, $at[$who]{timer});
  }
  $at[0]{run}->pump until ($at[0]{out} // '') =~ /^(\d+)\s/;
  my ($pid) = $at[0]{out} =~ /^(\d+)\s/;
  usleep($after * 1_000_000);
  # psql waits for more, so its backend is there
  $_->{run}->pump_nb for @at;
  my $hit = $at[0]{out} !~ /done/;
  my $log = -s $node->logfile;
  kill('KILL', $pid) if $hit;
  eval { $_->{run}->finish } for @at;
  back($log) if $hit;
  return $hit;
}

my $hits = 0;
my $worlds = 0;
my $last;
until ($hits >= $kills)
{
  my $database = 'killed_' . ++$worlds;
  $node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE world");
  foreach my $n (0 .. $#s3_instants)
  {
    $node->safe_psql($database, "SET entrestate.clock = '$s3_instants[$n]'; CALL public.happen($n)");
    foreach my $sql (@work)
    {
      my $tries = $kills > 20 ? 8 : 1;
      while ($hits < $kills && $tries-- > 0)
      {
        kill_one($database, $s3_instants[$n], $sql, rand(0.1 + $takes{"$n $sql"})) ? $hits++ : last;
      }
      my ($code, $out, $err) = $node->psql($database, "SET entrestate.clock = '$s3_instants[$n]'; $sql");
      is($err, '', "$database, instant $n: it goes on") if $err ne '';
    }
  }
  my $got = s3_world_story($node, $database);
  ok($got eq $want, "$database: everything is as in the run that nothing disturbed") or s3_differ($got, $want);
  is($node->safe_psql($database, q{SELECT law, object, detail FROM entrestate.verify() WHERE object !~ '^role '}), '', 'verify() finds nothing');
  die 'too little work to be hit at' if $worlds > 20;
}
is($hits, $kills, "it was hit at work $hits times");
# each of them was a crash
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /was terminated by signal 9/g), $hits, 'and the server knows it');
cmp_ok(scalar(() = $log =~ /by signal 9[^\n]*\n[^\n]*DETAIL:  Failed process was running: CALL entrestate/g), '>', $hits / 2, 'most of them in the midst of a call');
$node->stop;
done_testing();
