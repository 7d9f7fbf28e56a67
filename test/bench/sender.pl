#!/usr/bin/perl
# Steps a second of the processor, with one and two sessions, beside the bare statements that write the same
# rows (the floor), and beside no-op jobs a second of graphile-worker and pg-boss, in one run on one cluster.
use strict;
use warnings;
use IPC::Open3;
use List::Util 'sum';
use Time::HiRes;

my ($work, $here) = @ARGV;
my $db = 'sender';
$| = 1;

sub query
{
  my ($sql, $in) = @_;
  $in ||= $db;
  my $out = qx{psql -XAtq -v ON_ERROR_STOP=1 -d $in -c "$sql"};
  die "failed: $sql\n" if $?;
  chomp $out;
  return $out;
}
my $steps = query('SELECT count(*) FROM entrestate.sender_runs');
my $sent = "SELECT count(*) FROM entrestate.sender_events WHERE type IN (10, 12, 15)";
my $day = 1;
my $before;

# One more day: every run has a step due. Returns steps a second of so many sessions.
sub process
{
  my ($sessions) = @_;
  my $now = sprintf '2026-03-%02dT12:00:00Z', ++$day;
  $before = query($sent);
  query('CHECKPOINT');
  my $from = Time::HiRes::time();
  my @pids;
  foreach (1 .. $sessions)
  {
    my $pid = fork;
    if (!$pid)
    {
      exec 'psql', '-Xq', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-d', $db, '-c', "SET entrestate.clock = '$now'", '-c', 'CALL entrestate.sender_process()';
    }
    push @pids, $pid;
  }
  waitpid($_, 0) == $_ && $? && die "sender_process failed\n" foreach @pids;
  my $s = Time::HiRes::time() - $from;
  my $decided = query($sent) - $before;
  die "$decided steps were decided, not $steps\n" if $decided != $steps;
  query('VACUUM (ANALYZE) entrestate.sender_runs, entrestate.sender_due');
  return $steps / $s;
}
sub plain
{
  my $now = sprintf '2026-03-%02dT12:00:00Z', shift;
  query('CHECKPOINT');
  my $from = Time::HiRes::time();
  query("CALL data.process_plain('$now')");
  my $s = Time::HiRes::time() - $from;
  query('VACUUM (ANALYZE) plain.sender_runs, plain.due_one');
  return $steps / $s;
}
sub median
{
  my @v = sort { $a <=> $b } @_;
  return $v[ @v / 2 ];
}

# The machine's own speed drifts within a minute: what is compared is measured next to each other, and the floor
# before and after each says how fast the machine was.
my (@one, @two, @floor, @share);
my $plain_day = 1;
sub floor_now { push @floor, plain(++$plain_day); return $floor[-1]; }

# What a rate comes to of the floor before and after it; the floor that follows is before the next one.
my $last;
sub share_of
{
  my ($rate) = @_;
  my $before_it = $last;
  $last = floor_now();
  return 2 * $rate / ($before_it + $last);
}
process(1); # warms up
$last = floor_now();
foreach my $round (1 .. 3)
{
  push @one, process(1);
  push @two, process(2);
  push @share, share_of($one[-1]);
}
my ($one, $two, $floor, $share) = (median(@one), median(@two), median(@floor), median(@share));
printf "\n%-60s %10s\n", "the processor, $steps due runs of " . query('SELECT count(*) FROM data.tenants') . ' tenants', 'steps/s';
printf "%-60s %10.0f\n", @$_ foreach [ 'one session', $one ], [ 'two sessions', $two ], [ 'the same rows by bare statements, one session', $floor ];

printf "ratio: sender_one_session_floor %.3f aim 0.8\n", $share;

# the peers: their packages from npm's own registry
my $jobs = $ENV{BENCH_JOBS} || 50000;
my @peers = ([ 'graphile_worker', 'graphile-worker', '4', 5 ], [ 'pg_boss', 'pg-boss', '-', 2 ]);
if (system("mkdir -p $work && cp -r $here/peers $work/peers && cd $work/peers && npm install --no-audit --no-fund --silent >$work/npm.log 2>&1") != 0)
{
  print "graphile-worker and pg-boss could not be installed by npm: they are left out\n";
  @peers = ();
}
foreach my $peer (@peers)
{
  my ($name, $title, $aim, $times) = @$peer;
  my (@rate, @between);
  foreach my $time (1 .. $times)
  {
    push @between, process(2) if $time > 1;
    query("CREATE DATABASE ${name}_$time");
    my $rate = qx{cd $work/peers && PGDATABASE=${name}_$time node $name.mjs $jobs 2>$work/$name.log};
    chomp $rate;
    if ($rate !~ /^[0-9.]+$/)
    {
      print "$title failed: ", qx{tail -n 3 $work/$name.log};
      last;
    }
    push @rate, $rate;
  }
  next if @rate < $times;
  # each time against the peer before and after it
  my @ratio = map { 2 * $between[$_] / ($rate[$_] + $rate[ $_ + 1 ]) } 0 .. $#between;
  printf "%-60s %10s\n", @$_ foreach [ "$title, $jobs no-op jobs, jobs/s", join ' ', map { sprintf '%.0f', $_ } @rate ],
    [ 'two sessions in between, steps/s', join ' ', map { sprintf '%.0f', $_ } @between ];
  printf "ratio: sender_two_sessions_%s %.3f aim %s\n", $name, sum(@ratio) / @ratio, $aim;
}

# five times as many runs that wait, and a snapshot that stays open for the whole run, as a long report would hold
# one: what it comes to of the floor, beside what it came to undisturbed just before. (Leads have a week of events by now,
# which count against caps: the first days have fewer to look at.)
{
  my $rounds = $ENV{BENCH_WAITING} // 5;
  my $dead = "SELECT dead_tuple_count FROM pgstattuple('entrestate.sender_due')";
  my (@held, @held_share, @calm_share, $kept, $left);
  $last = floor_now();
  push @calm_share, share_of(process(1)) foreach 1 .. 3;
  system('psql', '-Xqo', '/dev/null', '-d', $db, '-v', "rounds=$rounds", '-f', "$here/waiting.sql") == 0 or die "waiting.sql failed\n";
  $last = floor_now();
  foreach my $round (1 .. 4)
  {
    my $pid = open3(my $in, my $out, undef, 'psql', '-XAtq', '-d', $db);
    print $in "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM entrestate.tenants;\n";
    $in->flush;
    readline $out;
    push @held, process(1);
    $kept = query($dead);
    print $in "COMMIT;\n";
    close $in;
    waitpid $pid, 0;
    query('VACUUM (ANALYZE) entrestate.sender_runs, entrestate.sender_due');
    $left = query($dead);
    push @held_share, share_of($held[-1]);
  }
  printf "%-60s %10.0f\n", "one session, beside @{[ $rounds * $steps ]} runs that wait and a snapshot that stays open", median(@held);
  printf "%-60s %10s\n", @$_ foreach [ '... of the bare statements, one by one', join ' ', map { sprintf '%.2f', $_ } @held_share ],
    [ '... and just before, undisturbed', join ' ', map { sprintf '%.2f', $_ } @calm_share ];
  printf "%-60s %10s\n", "... of $steps steps, dead rows in sender_due that the snapshot keeps", $kept;
  printf "%-60s %10s\n", '... and when it is closed', $left;
  printf "ratio: sender_open_snapshot %.3f aim 0.9\n", median(@held_share) / median(@calm_share);
}
