# L1: login_jwt() with every token of test/pgtap/jwt_cases.sql, the keys and demands coming from the
# settings and their files.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use L1;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = l1_node('l1jwt');
my $ids = l1_ids($node);
my $pgtap = "$FindBin::Bin/../pgtap";
my $dir = $node->data_dir;
# the tokens are those of one user of one tenant, which has its own id
my ($tenant, $user) = ('11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222');
$node->safe_psql('l1', <<SQL);
SET session_replication_role = replica;
INSERT INTO entrestate.tenants (tenant_id, name, mode, time_zone, currency, created_at, updated_at)
  VALUES ('$tenant', 'Tokens', 'sandbox', 'UTC', 'USD', now(), now());
INSERT INTO entrestate.members (tenant_id, user_id, role, added_by, created_at) VALUES ('$tenant', '$user', 'owner', '$user', now());
SQL

sub write_file
{
  my ($name, $text, $mode) = @_;
  open my $fh, '>', "$dir/$name" or die $!;
  print $fh $text;
  close $fh;
  chmod $mode, "$dir/$name";
  return;
}
write_file('hs.key', "0123456789abcdef0123456789abcdef\n", 0600);
write_file('rs.pem', slurp_file("$pgtap/jwt_test_public.pem"), 0644);

# Settings of this cluster from now on; in new connections at once.
sub configure
{
  my (%set) = @_;
  $node->append_conf('postgresql.conf', join '', map { "entrestate.$_ = '" . $set{$_} =~ s/\\/\\\\/gr . "'\n" } sort keys %set);
  $node->reload;
  my ($name) = sort keys %set;
  $node->poll_query_until('l1', "SELECT entrestate.code_version() IS NOT NULL AND current_setting('entrestate.$name') = '$set{$name}'") or die 'not reloaded';
  return;
}

# The cases are a SQL file that makes a temporary table; the names begin with what is configured.
my %cases;
{
  my $r = run_as($node, 'postgres', "\\i $pgtap/jwt_cases.sql\nSELECT encode(convert_to(name, 'UTF8'), 'hex'), encode(convert_to(token, 'UTF8'), 'hex'), expect FROM jwt_cases");
  is($r->{err}, '', 'the cases');
  foreach my $line (split /\n/, $r->{out})
  {
    my ($name, $token, $expect) = split /\|/, $line;
    ($name, $token) = map { pack 'H*', $_ } $name, $token // '';
    my ($kind) = $name =~ /^(\w+):/;
    push @{ $cases{$kind} }, [ $name, $token, $expect ];
  }
  my $n = 0;
  $n += @{ $cases{$_} } for keys %cases;
  cmp_ok($n, '>=', 200, "$n cases");
}

# What an application's login makes of it; for the status, the words of the error's detail.
my %words = (malformed => qr/./, unsupported_alg => qr/./, no_key => qr/./, bad_signature => qr/signature/, not_yet_valid => qr/./, expired => qr/expired/,
  wrong_issuer => qr/iss/, wrong_audience => qr/aud/, missing_claim => qr/./, too_long => qr/long/);
sub drive
{
  my ($kind) = @_;
  my $s = L1::Session->new($node->connstr('l1') . ' user=fixture_app');
  $s->query('SELECT entrestate.code_version()');
  my %detail;
  foreach my $case (@{ delete $cases{$kind} // [] })
  {
    my ($name, $token, $expect) = @$case;
    # an application sends a token as it came; what is no text cannot be sent at all
    my $hex = unpack 'H*', $token;
    my $out = $s->query("BEGIN;\nSELECT entrestate.login_jwt(convert_from('\\x$hex', 'UTF8'));\nSELECT tenant_id || ' ' || actor || ' ' || role || ' ' || way_in FROM entrestate.context();\nROLLBACK");
    $out =~ s/^\s+//;
    my $state = state_of($s->{err});
    if ($expect eq 'ok')
    {
      # good tokens of others are in the cases too: who they are is for the members to say
      if ($state eq '') { like($out, qr/^\S+ \S.* jwt$/, $name); }
      else { like($s->{err}, qr/28000: .*\n.*(not a member|not a UUID)/s, "$name (no member)"); }
    }
    else
    {
      like($state, $expect =~ /no_key|bad_key/ ? qr/^F0000(,25P02)?$/ : qr/^28000(,25P02)?$/, "$name: $expect") or diag $s->{err};
      unlike($out, qr/jwt$/, "$name: no context");
      my ($detail) = $s->{err} =~ /DETAIL:  (.*)/;
      $detail{$expect}{ $detail // '' } = 1;
      like($detail // '', $words{$expect}, "$name: why") if $words{$expect};
      unlike($s->{err} =~ s/LINE.*//sr, qr/\Q@{[substr $token, 20, 40]}\E/, "$name: the token is not repeated") if length $token > 60;
    }
  }
  # one status, one text; and no text for two
  my %of;
  foreach my $e (keys %detail)
  {
    is(scalar(keys %{ $detail{$e} }), 1, "$kind: $e is said in one way") or diag explain $detail{$e};
    $of{$_}{$e} = 1 for keys %{ $detail{$e} };
  }
  is(join(', ', grep { keys %{ $of{$_} } > 1 } keys %of), '', "$kind: and each in its own");
  $s->quit;
  return;
}

# no key at all
is(state_of(run_as($node, 'fixture_app', "SELECT entrestate.login_jwt('$cases{both}[0][1]')")->{err}), 'F0000', 'without a key no token holds');
configure(jwt_issuer => 'https://issuer.example', jwt_audience => 'entrestate', jwt_leeway => '30',
  jwt_hs256_key_file => "$dir/hs.key", jwt_rs256_key_file => "$dir/rs.pem");
my ($good) = map { $_->[1] } grep { $_->[2] eq 'ok' } @{ $cases{both} };
{
  my $r = run_as($node, 'fixture_app', "BEGIN;\nSELECT entrestate.login_jwt('$good') \\g /dev/null\n"
      . "SELECT tenant_id, actor, role, way_in, expires_at > now() FROM entrestate.context();\nSELECT name FROM entrestate.tenants;\nCOMMIT;\nSELECT count(*) FROM entrestate.tenants");
  is($r->{out}, "$tenant|$user|owner|jwt|t\nTokens\n0", 'a good token enters its tenant, for this transaction') or diag $r->{err};
  is(state_of(run_as($node, 'fixture_nobody', "SELECT entrestate.login_jwt('$good')")->{err}), '42501', 'not for a role that was granted nothing');
  is(run_as($node, 'fixture_anon', "BEGIN;\nSELECT entrestate.login_jwt('$good') \\g /dev/null\nSELECT count(*) FROM entrestate.tenants")->{out}, '', 'the anonymous role reads no table with it');
  # a member who goes
  $node->safe_psql('l1', "SET session_replication_role = replica; DELETE FROM entrestate.members WHERE tenant_id = '$tenant'");
  my $gone = run_as($node, 'fixture_app', "SELECT entrestate.login_jwt('$good')");
  is(state_of($gone->{err}), '28000', 'a removed member\'s token');
  $node->safe_psql('l1', "SET session_replication_role = replica; INSERT INTO entrestate.members (tenant_id, user_id, role, added_by, created_at) VALUES ('$tenant', '$user', 'owner', '$user', now())");
  # a bound role's ceiling
  $node->safe_psql('postgres', "CREATE ROLE bound_b LOGIN IN ROLE entrestate_app; ALTER ROLE bound_b SET entrestate.bound_tenant = '$ids->{b}{tenant}'");
  is(state_of(run_as($node, 'bound_b', "SELECT entrestate.login_jwt('$good')")->{err}), '28000', 'a token does not reach beyond what a role is bound to');
}
drive('both');

# only one of the keys; no demands on issuer and audience; the tenant's claim elsewhere
configure(jwt_rs256_key_file => '');
drive('hs');
configure(jwt_hs256_key_file => '', jwt_rs256_key_file => "$dir/rs.pem");
drive('rs');
configure(jwt_hs256_key_file => "$dir/hs.key", jwt_issuer => '', jwt_audience => '');
drive('open');
configure(jwt_issuer => 'https://issuer.example', jwt_audience => 'entrestate', jwt_tenant_claim => 'app_metadata.tenant_id');
drive('nested');
configure(jwt_tenant_claim => 'https://issuer\.example/tenant_id');
drive('dotted');
is(join(' ', sort keys %cases), '', 'every kind of case was driven: add the new ones');

# key files
configure(jwt_tenant_claim => 'tenant_id');
is(state_of(run_as($node, 'fixture_app', "SELECT entrestate.login_jwt('$good')")->{err}), '', 'the first good token again');
foreach my $bad ([ 0644, "0123456789abcdef0123456789abcdef\n", 'that others may read' ], [ 0600, "short\n", 'that is too short' ], [ 0600, '', 'that is empty' ],
  [ 0600, "fedcba98765432100123456789abcdef\n", 'of somebody else' ])
{
  my ($mode, $text, $what) = @$bad;
  unlink "$dir/hs.key";
  write_file('hs.key', $text, $mode);
  like(state_of(run_as($node, 'fixture_app', "SELECT entrestate.login_jwt('$good')")->{err}), qr/^(F0000|28000)$/, "an HS256 key $what");
}
unlink "$dir/hs.key";
is(state_of(run_as($node, 'fixture_app', "SELECT entrestate.login_jwt('$good')")->{err}), 'F0000', 'an HS256 key that is not there');
write_file('hs.key', "0123456789abcdef0123456789abcdef\n", 0600);
is(state_of(run_as($node, 'fixture_app', "SELECT entrestate.login_jwt('$good')")->{err}), '', 'and there again');
$node->stop;
done_testing();
