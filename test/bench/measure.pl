#!/usr/bin/perl
# Measures pairs with pgbench, in turns (A B, B A, ...), so that what the machine does meanwhile
# hits both; a pair's figure is the median of the rounds' ratios, its spread half the distance
# between the quartiles. Prints a table, then the ratio lines.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64url);
use POSIX qw(floor);
use Time::HiRes;

my ($work, $key_file) = @ARGV;
my $rounds = $ENV{BENCH_ROUNDS} || 3;
mkdir $work;
my $db = 'postgres';

sub query
{
  my ($sql) = @_;
  my $out = qx{psql -XAtq -v ON_ERROR_STOP=1 -d $db -c "$sql"};
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
  my $out = qx{pgbench -n -M prepared -c 1 -T $time -U $user -f $file $db 2>&1};
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

if (($ENV{BENCH_ONLY} // '') ne 'leads')
{

# ---------------------------------------------------------------- reads under row security

heading('a read, per statement', 'row sec.', 'by hand');
my @reads = (
  [ 'a lead by id', 500, 'SELECT * FROM entrestate.leads WHERE %s lead_id = \'%L\'' ],
  [ 'the newest 50 leads of a campaign', 200,
    'SELECT * FROM entrestate.leads WHERE %s campaign_id = \'%C\' ORDER BY updated_at DESC LIMIT 50' ],
  [ 'the newest 50 events of a type', 200,
    "SELECT * FROM entrestate.sender_events WHERE %s type = $type ORDER BY recorded_at DESC LIMIT 50" ],
  [ 'a campaign\'s leads by direction', 4,
    'SELECT direction, count(*), count(hot_at) FROM entrestate.leads WHERE %s campaign_id = \'%C\' GROUP BY 1' ],
  [ 'the tenant\'s leads by direction', 1,
    'SELECT direction, count(*), count(hot_at) FROM entrestate.leads WHERE %s true GROUP BY 1' ],
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

}

# ---------------------------------------------------------------- signals, search, import

$db = 'leads';
my $leads = query('SELECT count(*) FROM data.lead');
$t = query('SELECT tenant_id FROM data.tenant');
$login = "SELECT entrestate.login('$t', 'owner');";
heading('storing signals, per signal, durable', 'scored', 'bare');
# a thousand of a thousand leads, a thousand of 250 leads, one
foreach my $how ([ 1000, 1, 'signals_batch' ], [ 1000, 4, 'signals_batch_4_a_lead' ], [ 1, 1, 'signals_single' ])
{
  my ($n, $each, $ratio_name) = @$how;
  my $last = $leads - $n;
  my $some = "(SELECT array_agg(lead_id) FROM data.lead, generate_series(1, $each) WHERE i > :first AND i <= :first + $n / $each), (SELECT kinds FROM data.mix), "
    . "(SELECT array_agg('m' || :salt || '-' || i) FROM generate_series(1, $n) i)";
  my $one = "(SELECT lead_id FROM data.lead WHERE i = :first + 1)";
  my $head = "\\set first random(0, $last)\n\\set salt random(1, 1000000000)\nBEGIN;\n$login\n";
  my $signals = $n > 1 ? "SELECT count(s.*) FROM (SELECT $some) x(l, k, r), entrestate.signals_add(leads => x.l, kinds => x.k, refs => x.r) s;"
    : "SELECT * FROM entrestate.signal_add($one, 'open', reference => 'm' || :salt);";
  my $arrays = $n > 1 ? $some : "ARRAY[$one], '{open}', ARRAY['m' || :salt]";
  # beside the bare insert of the signals, and beside bare statements that write all the rows that a signal writes
  foreach my $plain ([ 'insert_plain', '' ], [ 'write_plain', '_all_rows' ])
  {
    my ($function, $suffix) = @$plain;
    query('CHECKPOINT');
    my ($a, $b, $ratio, $spread) = pair(map({ [ 'bench_app', "$head$_\nCOMMIT;", $n ] } $signals, "SELECT data.$function($arrays);"), 3);
    row(($n > 1 ? "$n a call, of " . $n / $each . ' leads' : 'one a call') . ($suffix ? ', all rows' : ''), time_of($a), time_of($b), $ratio, $spread);
    printf "%-44s %10.0f %10.0f\n", 'signals a second', 1 / $a, 1 / $b;
    $ratio{"$ratio_name$suffix"} = 1 / $ratio;
  }
}

# each query once, in one session: what a person types into the search box
{
  my @queries = map { "SELECT count(*) FROM entrestate.lead_search($_)" } (
    map({ "'$_'" } qw(maria josé li omar zoë firm ma)), map({ "'" . lc . "'" } split /\n/, query("SELECT first || ' ' || left(last, 5) FROM data.lead WHERE i % ($leads / 60) = 7")),
    map({ "'$_'" } split /\n/, query("SELECT last FROM data.lead WHERE i % ($leads / 60) = 11")), map({ "'$_'" } split /\n/, query("SELECT firm FROM data.lead WHERE i % ($leads / 60) = 13")),
    map({ "'$_'" } split /\n/, query("SELECT address FROM entrestate.lead_contacts ORDER BY address_norm OFFSET 100 LIMIT 60")),
    map({ "'maria', before => '$_'" } split /\n/, query("SELECT lead_id FROM data.lead WHERE i % ($leads / 10) = 1")),
    "'nobody has this'", "'xqz'");
  my $file = script(join "\n", "BEGIN;", $login, '\\timing on', map({ "$_;" } @queries, @queries, @queries), 'COMMIT;');
  my @ms = map { /^Time: ([0-9.]+) ms/ ? $1 : () } split /\n/, qx{psql -Xq -U bench_app -d leads -v ON_ERROR_STOP=1 -f $file 2>&1};
  shift @ms; # \timing itself is not timed; the first query plans
  die "lead_search: no times\n" if @ms < @queries;
  printf "\n%-44s %10s %10s %10s\n", "lead_search() of $leads leads, ms", 'p50', 'p99', 'most';
  printf "%-44s %10.2f %10.2f %10.2f\n", scalar(@queries) . ' queries', quantile(.5, @ms), quantile(.99, @ms), quantile(1, @ms);
}

# 200,000 leads of 100 tenants, 2,000 an import
{
  my $n = $ENV{BENCH_IMPORT} || 200000;
  my $imports = int($n / 2000);
  query("CREATE TABLE data.importing AS SELECT k, entrestate.tenant_create('Import ' || k, 'owner', 'sandbox') AS tenant_id FROM generate_series(1, $imports) k");
  query('GRANT SELECT ON data.importing TO bench_app');
  foreach my $how (
    [ 'JSON', q{entrestate.lead_import((SELECT jsonb_agg(jsonb_build_object('full_name', 'Lead ' || i, 'email', 'Lead' || i || '@Example.com', 'company', 'Firm ' || i % 50, 'budget', i)) FROM generate_series(1, 1000) i))} ],
    [ 'CSV', q{entrestate.lead_import_csv((SELECT convert_to('Name,E-mail,Company,Budget' || string_agg(E'\\nLead ' || i || ',lead' || i || '@example.com,Firm ' || i % 50 || ',' || i, ''), 'UTF8') FROM generate_series(1001, 2000) i))} ])
  {
    my ($name, $call) = @$how;
    my $file = script(join "\n", map { "BEGIN;\nSELECT entrestate.login('$_', 'owner') \\g /dev/null\nSELECT outcome, count(*) FROM $call GROUP BY 1;\nCOMMIT;" }
      split /\n/, query('SELECT tenant_id FROM data.importing ORDER BY k'));
    my $from = Time::HiRes::time();
    my $out = qx{psql -XAtq -U bench_app -d leads -v ON_ERROR_STOP=1 -f $file 2>&1};
    my $s = Time::HiRes::time() - $from;
    my $imported = 0;
    $imported += $_ foreach $out =~ /^imported\|(\d+)$/mg;
    die "import: $out\n" if $imported != 1000 * $imports;
    printf "%-44s %10.0f\n", "imported leads a second, $name, $imports tenants", $imported / $s;
  }
  print 'counts that do not add up: ', query('SELECT count(*) FROM entrestate.lead_imports WHERE row_count <> imported + duplicate + refused OR imported <> 1000'), "\n";
}

print "\nEach pair in $rounds rounds, in turns; the ratio is the rounds' median, +- half the distance of\n",
  "their quartiles. rls_read_overhead is the geometric mean of the reads, guard_insert_overhead the\n",
  "batches of 1000, context_entry_overhead login()'s transaction against one with SELECT 1.\n\n";
my %aim = (rls_read_overhead => '1.05', guard_insert_overhead => '1.15', signals_single => '0.6', signals_batch => '0.6', signals_batch_4_a_lead => '0.6');
printf "ratio: %s %.3f aim %s\n", $_, $ratio{$_}, $aim{$_} // '-'
  foreach grep { defined $ratio{$_} } qw(rls_read_overhead guard_insert_overhead context_entry_overhead consumer_throughput),
  map { ($_, "${_}_all_rows") } qw(signals_single signals_batch signals_batch_4_a_lead);
