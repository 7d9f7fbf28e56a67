#!/usr/bin/perl
# Seconds that a what-if of a month takes.
use strict;
use warnings;
use Time::HiRes;

$| = 1;
my $db = 'simulate';

sub session
{
  my ($sql) = @_;
  open my $psql, '-|', 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $db, '-c', "SET entrestate.clock = '2026-04-01T08:00:00Z'",
    '-c', "BEGIN; SELECT entrestate.login(tenant_id, 'owner') FROM data.it; $sql" or die "psql: $!\n";
  my @out = grep { /\S/ } <$psql>;
  close $psql or die "failed: $sql\n";
  chomp @out;
  return @out;
}
my ($leads) = session('SELECT count(*) FROM entrestate.sender_runs');
my %s;
print "\n";
foreach my $what (
  [ 'nothing', 'as it was', '{}' ],
  [ 'threshold', 'with the threshold at 25', '{"hot_threshold": 25}' ],
  [ 'limit', 'with a daily limit, all leads in one order', '{"daily_limit": {"email": 20000}}' ])
{
  my ($name, $title, $overrides) = @$what;
  my @seconds;
  foreach (1 .. 3)
  {
    my $from = Time::HiRes::time();
    session("SELECT count(*) FROM entrestate.sender_what_if((SELECT campaign_id FROM data.it), '2026-03-01', '2026-04-01', '$overrides')");
    push @seconds, Time::HiRes::time() - $from;
  }
  $s{$name} = (sort { $a <=> $b } @seconds)[1];
  printf "%-60s %9.1f s\n", "a month of $leads leads, $title", $s{$name};
}
# a hundred thousand leads within ten seconds
printf "ratio: sender_simulate_10s %.3f aim 1\n", 10 * $leads / 100000 / $s{threshold};
