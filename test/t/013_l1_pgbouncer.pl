# L1 under PgBouncer in transaction mode: one server connection, clients of two tenants taking turns.
# Whatever a client leaves behind, the next one begins with no context.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use L1;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'pgbouncer is not installed' unless $pgbouncer;
plan skip_all => 'pgbouncer does not run as root' if $> == 0;

my $node = l1_node('l1pgbouncer');
my $ids = l1_ids($node);
# an application that vouches for its users itself; its library is loaded by the first call
$node->safe_psql('l1', 'CREATE ROLE l1_gateway LOGIN IN ROLE entrestate_app, entrestate_authenticator');

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $file = sub { my ($name, $text) = @_; open my $fh, '>', "$dir/$name" or die $!; print $fh $text; close $fh; return "$dir/$name" };
$file->('users', qq{"fixture_app" ""\n"l1_gateway" ""\n});
my $ini = $file->('pgbouncer.ini', <<INI);
[databases]
l1 = host=${\ $node->host} port=${\ $node->port} dbname=l1
[pgbouncer]
unix_socket_dir = $dir
listen_port = $port
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 1
max_client_conn = 100
logfile = $dir/log
INI
my ($in, $out) = ('', '');
my $bouncer = IPC::Run::start([ $pgbouncer, '-q', $ini ], '<', \$in, '>', \$out, '2>&1');
END { my $status = $?; $bouncer->kill_kill if $bouncer; $? = $status; }

my $conn = sub { "host=$dir port=$port dbname=l1 user=$_[0]" };
{
  my $up = 0;
  for (1 .. 600)
  {
    $up = IPC::Run::run([ 'psql', '-XAtqc', 'SELECT 1', '-d', $conn->('fixture_app') ], '>', \my $o, '2>', \my $e);
    last if $up || !$bouncer->pumpable;
    select undef, undef, undef, 0.1;
  }
  $up or die "pgbouncer does not answer: $out " . (-f "$dir/log" ? slurp_file("$dir/log") : '');
}

my %token = map { my $who = $_; map { ("$who $_" => token($node, $ids->{$who}{tenant}, $ids->{$who}{owner}, $_, '1 hour')) } qw(fixture_app l1_gateway) } qw(a b);
my %other = (a => 'b', b => 'a');
my %rows = map { $_ => $node->safe_psql('l1', "SELECT count(*) FROM entrestate.leads WHERE tenant_id = '$ids->{$_}{tenant}'") } qw(a b);
# what a client sees: its context, how many leads, and whether any is of B or A
my $see = q{SELECT coalesce((SELECT t.name FROM entrestate.tenants t), 'none') || ' ' || (SELECT count(*) FROM entrestate.leads) || ' ' || (entrestate.current_tenant() IS NULL)};
my %sees = (a => "zqalpha Homes $rows{a} false", b => "zqbeta Homes $rows{b} false", none => 'none 0 true');

sub client { my ($role) = @_; return L1::Session->new($conn->($role)) }
# a new server connection, whose library is not loaded
sub fresh
{
  my ($role) = @_;
  $node->safe_psql('l1', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '$role'");
  $node->poll_query_until('l1', "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = '$role'");
  # pgbouncer learns of it when it uses the connection; until then a client sees an error
  for (1 .. 100)
  {
    last if IPC::Run::run([ 'psql', '-XAtqc', 'SELECT 1', '-d', $conn->($role) ], '>', \my $o, '2>', \my $e);
  }
  return;
}

# ---------------------------------------------------------------- what one client may leave to the next

{
  my $token = $token{'a fixture_app'};
  my @leave = (
    [ 'a bare SET, before the library is loaded', "SET entrestate.session = '$token'" ],
    [ 'a bare SET in a transaction, before the library is loaded', "BEGIN; SET entrestate.session = '$token'; COMMIT" ],
    [ 'a bare set_config()', "SELECT set_config('entrestate.session', '$token', false)" ],
    [ 'SET LOCAL', "BEGIN; SET LOCAL entrestate.session = '$token'; $see; COMMIT" ],
    [ 'a bare SET that was used', "BEGIN; SET entrestate.session = '$token'; $see; COMMIT" ],
    [ 'a bare SET under a savepoint', "BEGIN; SAVEPOINT s; SET entrestate.session = '$token'; $see; RELEASE s; COMMIT" ],
    [ 'a bare SET and an error', "BEGIN; SET entrestate.session = '$token'; SELECT 1/0; ROLLBACK" ],
    [ 'a temporary function', "BEGIN; SET LOCAL entrestate.session = '$token'; CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM entrestate.leads); END'; SELECT pg_temp.f(); COMMIT" ],
  );
  for my $fresh (1, 0)
  {
    for my $l (@leave)
    {
      my ($what, $sql) = @$l;
      fresh('fixture_app') if $fresh;
      my ($c1, $c2) = map { client('fixture_app') } 1, 2;
      my $pid = $c1->query("SELECT pg_backend_pid()");
      $c1->query($sql);
      is($c2->query("SELECT pg_backend_pid()"), $pid, "the same server connection: $what, " . ($fresh ? 'a new one' : 'an old one'));
      is($c2->query("BEGIN; SAVEPOINT s; $see; ROLLBACK TO s; $see; COMMIT; $see"), "$sees{none}\n$sees{none}\n$sees{none}", '... the next client has no context');
      is($c2->query("BEGIN; SET LOCAL entrestate.session = '$token{'b fixture_app'}'; $see; COMMIT; $see"), "$sees{b}\n$sees{none}", '... until it enters its own');
      is($c1->query($see), $sees{none}, '... nor does the first one when it comes back');
      $c2->query('DROP FUNCTION IF EXISTS pg_temp.f(); RESET entrestate.session');
      $_->quit for $c1, $c2;
    }
  }
  # a client that goes away in the middle of a transaction
  my ($c1, $c2) = map { client('fixture_app') } 1, 2;
  $c1->query("BEGIN; SET entrestate.session = '$token'; $see");
  $c1->{run}->kill_kill;
  is($c2->query($see), $sees{none}, 'a client that goes away in a transaction leaves nothing');
  # a server-side prepared statement is found by the next client
  my $c3 = client('fixture_app');
  $c3->query("BEGIN; SET LOCAL entrestate.session = '$token'; PREPARE left_behind AS $see; EXECUTE left_behind; COMMIT");
  is($c2->query('EXECUTE left_behind'), $sees{none}, 'a prepared statement of another client: no context');
  is($c2->query("BEGIN; SET LOCAL entrestate.session = '$token{'b fixture_app'}'; EXECUTE left_behind; COMMIT"), $sees{b}, '... or one\'s own');
  $c2->query('DEALLOCATE left_behind');
  $_->quit for $c2, $c3;
}

# ---------------------------------------------------------------- taking turns

# Each client sends whole transactions at the same time as the others; the order is pgbouncer's.
srand 4;
for my $role (qw(fixture_app l1_gateway))
{
  my @ways = qw(local bare savepoint error none);
  push @ways, 'login', 'login and error' if $role eq 'l1_gateway';
  my @clients = map { { who => $_, session => client($role) } } qw(a b a b);
  my %pids;
  my ($wrong, $transactions) = (0, 0);
  fresh($role);
  for my $round (1 .. 80)
  {
    for my $c (@clients)
    {
      my $who = $c->{who};
      my $way = $ways[ rand @ways ];
      my $token = $token{"$who $role"};
      my $login = "SELECT entrestate.login('$ids->{$who}{tenant}', '$ids->{$who}{owner}') IS NULL";
      my ($sql, @expect);
      # outside of a transaction, then one, then outside again
      if ($way eq 'local') { $sql = "SET LOCAL entrestate.session = '$token'; $see"; @expect = ($sees{$who}) }
      elsif ($way eq 'bare') { $sql = "SET entrestate.session = '$token'; $see"; @expect = ($sees{$who}) }
      elsif ($way eq 'savepoint') { $sql = "SAVEPOINT s; SET LOCAL entrestate.session = '$token'; $see; ROLLBACK TO s; $see"; @expect = ($sees{$who}, $sees{none}) }
      elsif ($way eq 'error') { $sql = "SET entrestate.session = '$token'; $see; SELECT 1/0"; @expect = ($sees{$who}) }
      elsif ($way eq 'none') { $sql = $see; @expect = ($sees{none}) }
      elsif ($way eq 'login') { $sql = "$login; $see"; @expect = ('f', $sees{$who}) }
      else { $sql = "$login; $see; SELECT 1/0"; @expect = ('f', $sees{$who}) }
      $c->{expect} = join "\n", $sees{none}, $sees{none}, @expect, $sees{none};
      $c->{way} = $way;
      # half of the bare ones begin with SET alone, in a transaction of its own
      my $before = $way eq 'bare' && $round % 2 ? "SET entrestate.session = '$token'; " : '';
      $c->{mark} = $c->{session}->send("$before$see; BEGIN; $see; $sql; "
          . ($way =~ /error/ || rand() < 0.3 ? 'ROLLBACK' : 'COMMIT') . "; $see; SELECT 'pid ' || pg_backend_pid()");
    }
    for my $c (@clients)
    {
      my $got = $c->{session}->wait($c->{mark});
      $got =~ s/\n?pid (\d+)$// and $pids{$1}++;
      $transactions += 5;
      next if $got eq $c->{expect};
      $wrong++ || diag "round $round, $c->{who}, $c->{way}: expected\n$c->{expect}\ngot\n$got\n$c->{session}{err}";
    }
  }
  is($wrong, 0, "$transactions transactions of four clients of two tenants as $role: each in its own tenant, or in none");
  is(scalar(keys %pids), 1, '... all over one server connection');
  $_->{session}->quit for @clients;
}
$bouncer->signal('TERM');
$bouncer->finish;
undef $bouncer;
$node->stop;
done_testing();
