#!/usr/bin/perl
# Measures pairs with pgbench, in turns (A B, B A, ...), so that what the machine does meanwhile
# hits both; a pair's figure is the median of the rounds' ratios, its spread half the distance
# between the quartiles. Prints a table, then the ratio lines.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64url);
use POSIX qw(floor);

my ($work, $key_file) = @ARGV;
my $rounds = $ENV{BENCH_ROUNDS} || 5;
mkdir $work;

sub query
{
  my ($sql) = @_;
  my $out = qx{psql -XAtq -v ON_ERROR_STOP=1 -c "$sql"};
  die "failed: $sql\n" if $?;
  chomp $out;
  return $out;
}

my ($t, $campaign) = split /\|/, query('SELECT t.tenant_id, c.campaign_id FROM data.tenants t JOIN data.campaigns c USING (n) WHERE t.n = 1 AND c.k = 3');
my $lead = query("SELECT lead_id FROM entrestate.leads WHERE campaign_id = '$campaign' ORDER BY lead_id OFFSET 1000 LIMIT 1");
my $type = query("SELECT code FROM entrestate.sender_event_types() WHERE name = 'sender.run.started'");
my $login = "SELECT entrestate.login('$t', 'owner');";

# Seconds per transaction of a script that runs for some seconds in one session.
my $scripts = 0;
sub script
{
  my ($sql) = @_;
  my $file = "$work/" . ++$scripts . '.sql';
  open my $fh, '>', $file or die "$file: $!";
  print $fh $sql;
  close $fh;
  return $file;
}
sub seconds
{
  my ($user, $file, $time) = @_;
  my $out = qx{pgbench -n -M prepared -c 1 -T $time -U $user -f $file postgres 2>&1};
  $out =~ /^tps = ([0-9.]+) \(without/m or die "pgbench: $out";
  return 1 / $1;
}

sub quantile
{
  my ($p, @v) = @_;
  @v = sort { $a <=> $b } @v;
  my $at = $p * $#v;
  my $i = floor($at);
  return $i >= $#v ? $v[-1] : $v[$i] + ($at - $i) * ($v[$i + 1] - $v[$i]);
}

# a, b: [user, SQL, how many things a transaction does]. Returns median seconds per thing of each,
# the median ratio a / b and its spread.
sub pair
{
  my ($a, $b, $time) = @_;
  my @files = map { script($_->[1]) } $a, $b;
  my (@a, @b, @ratio);
  foreach my $round (0 .. $rounds)
  {
    my @s;
    foreach my $which ($round % 2 ? (1, 0) : (0, 1))
    {
      my $x = ($a, $b)[$which];
      $s[$which] = seconds($x->[0], $files[$which], $round ? $time : 1) / $x->[2];
    }
    next unless $round; # the first warms up
    push @a, $s[0];
    push @b, $s[1];
    push @ratio, $s[0] / $s[1];
  }
  return (quantile(.5, @a), quantile(.5, @b), quantile(.5, @ratio), (quantile(.75, @ratio) - quantile(.25, @ratio)) / 2);
}

sub time_of
{
  my ($s) = @_;
  return $s < 1e-3 ? sprintf '%.1f us', $s * 1e6 : $s < 1 ? sprintf '%.2f ms', $s * 1e3 : sprintf '%.2f s', $s;
}
sub row
{
  my ($name, $a, $b, $ratio, $spread) = @_;
  printf "%-44s %10s %10s %6.3f +-%5.3f\n", $name, $a, $b, $ratio, $spread;
}
sub heading
{
  printf "\n%-44s %10s %10s %6s\n", @_, 'ratio';
}
$| = 1;
my %ratio;

# ---------------------------------------------------------------- reads under row security

heading('a read, per statement', 'row sec.', 'by hand');
my @reads = (
  [ 'a lead by id', 500, 'SELECT * FROM entrestate.leads WHERE %s lead_id = \'%L\'' ],
  [ 'the newest 50 leads of a campaign', 200,
    'SELECT * FROM entrestate.leads WHERE %s campaign_id = \'%C\' ORDER BY updated_at DESC LIMIT 50' ],
  [ 'the newest 50 events of a type', 200,
    "SELECT * FROM entrestate.sender_events WHERE %s type = $type ORDER BY recorded_at DESC LIMIT 50" ],
  [ 'a campaign\'s leads by direction', 4,
    'SELECT direction, count(*), sum(score) FROM entrestate.leads WHERE %s campaign_id = \'%C\' GROUP BY 1' ],
  [ 'the tenant\'s leads by direction', 1,
    'SELECT direction, count(*), sum(score) FROM entrestate.leads WHERE %s true GROUP BY 1' ],
  [ 'the tenant\'s events by type', 1,
    'SELECT type, count(*) FROM entrestate.sender_events WHERE %s true GROUP BY 1' ]);
my $logs = 0;
foreach my $r (@reads)
{
  my ($name, $n, $sql) = @$r;
  $sql =~ s/%L/$lead/;
  $sql =~ s/%C/$campaign/;
  # the same statements around it for both; entering a context is measured below
  my @pair = map {
    my ($user, $filter) = @$_;
    my $enter = $user eq 'postgres' ? 'SELECT 1;' : $login;
    [ $user, join("\n", 'BEGIN;', $enter, (sprintf("$sql;", $filter)) x $n, 'COMMIT;'), $n ];
  } [ 'bench_app', '' ], [ 'postgres', "tenant_id = '$t' AND" ];
  my ($a, $b, $ratio, $spread) = pair(@pair, 2);
  row($name, time_of($a), time_of($b), $ratio, $spread);
  $logs += log $ratio;
}
$ratio{rls_read_overhead} = exp($logs / @reads);

# ---------------------------------------------------------------- inserts under guards

heading('inserting sender events, per row', 'guarded', 'plain');
foreach my $n (1000, 1)
{
  my @pair = map {
    [ 'bench_app', "\\set first random(1, 1000000)\nBEGIN;\n$login\n"
      . "SELECT data.$_('$t', '$campaign', :first, $n);\nCOMMIT;", $n ]
  } qw(insert_guarded insert_plain);
  query('CHECKPOINT');
  my ($a, $b, $ratio, $spread) = pair(@pair, 3);
  row("$n a transaction, durable", time_of($a), time_of($b), $ratio, $spread);
  $ratio{guard_insert_overhead} //= $ratio;
}

# ---------------------------------------------------------------- entering a context

my $token = query("SELECT entrestate.token_mint('$t', 'owner', 'bench_app', '1 hour')");
open my $fh, '<', $key_file or die "$key_file: $!";
my $secret = <$fh>;
close $fh;
my $jwt = encode_base64url('{"alg":"HS256","typ":"JWT"}') . '.'
  . encode_base64url(sprintf '{"tenant_id":"%s","sub":"owner","iat":%d,"exp":%d}', $t, query('SELECT extract(epoch FROM entrestate.clock_now())::bigint'), time() + 36000);
$jwt .= '.' . encode_base64url(hmac_sha256($jwt, $secret));

heading('entering a context, per transaction', 'entering', 'SELECT 1');
foreach my $way (
  [ 'login()', $login ],
  [ 'a token: SET LOCAL, current_tenant()', "SET LOCAL entrestate.session = '$token';\nSELECT entrestate.current_tenant();" ],
  [ 'login_jwt(), HS256', "SELECT entrestate.login_jwt('$jwt');" ])
{
  my ($name, $sql) = @$way;
  my ($a, $b, $ratio, $spread) = pair([ 'bench_app', "BEGIN;\n$sql\nCOMMIT;", 1 ],
    [ 'bench_app', "BEGIN;\nSELECT 1;\nCOMMIT;", 1 ], 2);
  row($name, time_of($a), time_of($b), $ratio, $spread);
  $ratio{context_entry_overhead} //= $ratio;
}

# ---------------------------------------------------------------- consumers

# the last tenth of the events, as a consumer's batch and read straight from its partition
my ($epoch, $after, $since, $n) = split /\|/, query("SELECT epoch, x || ':' || x || ':', min(recorded_at), count(*)
  FROM entrestate.sender_events, (SELECT 3 + 540 AS x) x WHERE txid >= x::text::xid8 AND recorded_at < '2026-03-01' AND txid < '603' GROUP BY 1, x");
heading('reading events, per event', 'consumer', 'straight');
my ($a, $b, $ratio, $spread) = pair(
  [ 'bench_auditor', "SELECT count(*), max(recorded_at) FROM entrestate.consumer_events(NULL::entrestate.sender_events, $epoch\:\:smallint, '$after', '603:603:');", $n ],
  [ 'bench_auditor', "SELECT count(*), max(recorded_at) FROM entrestate.sender_events WHERE recorded_at >= '$since' AND recorded_at < '2026-03-01';", $n ], 3);
row("a batch of $n events", time_of($a), time_of($b), $ratio, $spread);
printf "%-44s %10.0f %10.0f\n", 'events a second', 1 / $a, 1 / $b;
$ratio{consumer_throughput} = 1 / $ratio;

print "\nEach pair in $rounds rounds, in turns; the ratio is the rounds' median, +- half the distance of\n",
  "their quartiles. rls_read_overhead is the geometric mean of the reads, guard_insert_overhead the\n",
  "batches of 1000, context_entry_overhead login()'s transaction against one with SELECT 1.\n\n";
my %aim = (rls_read_overhead => '1.05', guard_insert_overhead => '1.15');
printf "ratio: %s %.3f aim %s\n", $_, $ratio{$_}, $aim{$_} // '-'
  foreach qw(rls_read_overhead guard_insert_overhead context_entry_overhead consumer_throughput);
