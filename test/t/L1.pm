# What the L1 tests share: a cluster with the fixtures of test/pgtap/setup.sql, statements run by
# real logins, and sessions that stay open.
package L1;
use strict;
use warnings;
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Exporter 'import';
our @EXPORT = qw(l1_node l1_ids run_as state_of token);

# A cluster with database "l1": the extension and the fixtures. %conf: lines of postgresql.conf.
sub l1_node
{
  my ($name, @conf) = @_;
  my $node = PostgreSQL::Test::Cluster->new($name);
  $node->init;
  $node->append_conf('postgresql.conf', join("\n", 'fsync = off', "lc_messages = 'C'", @conf) . "\n");
  $node->start;
  $node->safe_psql('postgres', 'CREATE DATABASE l1');
  $node->safe_psql('l1', 'SET client_min_messages = warning; CREATE EXTENSION entrestate; SELECT entrestate.migrate()');
  run_as($node, 'postgres', "\\set ON_ERROR_STOP 1\n\\i $FindBin::Bin/../pgtap/setup.sql\n")->{err} eq ''
    or die 'the fixtures could not be made';
  return $node;
}

# fixture.ids as $ids->{a}{lead}
sub l1_ids
{
  my ($node) = @_;
  my %ids;
  foreach my $line (split /\n/, $node->safe_psql('l1', 'SELECT who, name, id FROM fixture.ids'))
  {
    my ($who, $name, $id) = split /\|/, $line;
    $ids{$who}{$name} = $id;
  }
  return \%ids;
}

# Runs statements as a login role in a connection of its own, to the end whatever fails. Errors have
# their SQLSTATE: "ERROR:  42501: permission denied ...".
sub run_as
{
  my ($node, $role, $sql, %with) = @_;
  my ($out, $err) = ('', '');
  local $ENV{PGOPTIONS} = $with{options} // '';
  my $conn = "host='" . $node->host . "' port=" . $node->port . " dbname=" . ($with{database} // 'l1') . " user=$role";
  IPC::Run::run([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $conn, '-f', '-' ],
    '<', \$sql, '>', \$out, '2>', \$err);
  chomp($out, $err);
  return { out => $out, err => $err };
}

# The SQLSTATEs of the errors (not the warnings) in what psql said.
sub state_of
{
  my ($err) = @_;
  return join ',', $err =~ /(?:ERROR|FATAL):  ([0-9A-Z]{5}):/g;
}

sub token
{
  my ($node, $tenant, $actor, $role, $ttl) = @_;
  return $node->safe_psql('l1', "SELECT entrestate.token_mint('$tenant', '$actor', '$role'" . ($ttl ? ", '$ttl'" : '') . ')');
}

# A session that stays open: my $s = L1::Session->new($conninfo); $s->query($sql) returns what was
# printed, and $s->{err} has the errors of that query. send() and wait() are its halves.
package L1::Session;

sub new
{
  my ($class, $conn) = @_;
  my $self = bless { in => '', out => '', err => '', n => 0, conn => $conn }, $class;
  $self->{timer} = IPC::Run::timer(180);
  $self->{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $conn ],
    '<', \$self->{in}, '>', \$self->{stdout}, '2>', \$self->{stderr}, $self->{timer});
  return $self;
}

sub send
{
  my ($self, $sql) = @_;
  my $mark = '--done ' . ++$self->{n} . '--';
  $self->{stdout} = $self->{stderr} = '';
  $self->{timer}->start(180);
  $self->{in} .= "$sql\n;\n\\echo $mark\n\\warn $mark\n";
  $self->{run}->pump_nb;
  return $mark;
}

sub wait
{
  my ($self, $mark) = @_;
  $self->{run}->pump until $self->{stdout} =~ /\Q$mark\E\n/ && $self->{stderr} =~ /\Q$mark\E\n/;
  (my $out = $self->{stdout}) =~ s/\n?\Q$mark\E\n//;
  ($self->{err} = $self->{stderr}) =~ s/\n?\Q$mark\E\n//;
  return $out;
}

sub query
{
  my ($self, $sql) = @_;
  return $self->wait($self->send($sql));
}

sub quit
{
  my ($self) = @_;
  $self->{in} .= "\\q\n";
  $self->{run}->finish;
  return;
}

1;
