# L1: session tokens. Forged, altered, expired, another's, a removed member's; the moment of SET; the
# key file; bound roles; what SHOW shows. By real logins.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use L1;
use Digest::SHA qw(hmac_sha256_hex);
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = l1_node('l1tokens');
my $ids = l1_ids($node);
my ($a, $b) = ($ids->{a}{tenant}, $ids->{b}{tenant});
my $key_file = $node->data_dir . '/entrestate.key';

# The context, as one line: the tenant or "none", and the explanation.
my $context = "SELECT coalesce(tenant_id::text, 'none') || ': ' || explanation FROM entrestate.context()";
my $leads = 'SELECT count(*) FROM entrestate.leads';
# each tenant has as many
my $n = $node->safe_psql('l1', "$leads WHERE tenant_id = '$a'");

# In a transaction of its own: SET LOCAL to the token, and what it makes of the context.
sub with_token
{
  my ($token, %as) = @_;
  $token =~ s/'/''/g;
  return run_as($node, $as{role} // 'fixture_app',
    # loaded first, so that a refusal is an error
    "SELECT entrestate.code_version() \\g /dev/null\nBEGIN;\nSET LOCAL entrestate.session = '$token';\n$context;\n$leads;\nCOMMIT;", %as);
}
sub holds
{
  my ($token, $tenant, $what, %as) = @_;
  my $r = with_token($token, %as);
  is($r->{out}, "$tenant: The context holds.\n$n", $what) or diag $r->{err};
}
sub fails
{
  my ($token, $what, $like, %as) = @_;
  my $r = with_token($token, %as);
  is(state_of($r->{err}) . ' ' . $r->{out}, '28000,25P02,25P02 ', $what) or diag $r->{err};
  like($r->{err}, $like, "$what: it says why") if $like;
  unlike($r->{err}, qr/es1\.[A-Za-z0-9+\/]{20}|eb1\.\d/, "$what: the token is not repeated") if $like;
}

# ---------------------------------------------------------------- what holds, and what does not

my $good = token($node, $a, $ids->{a}{owner}, 'fixture_app');
my $good_b = token($node, $b, $ids->{b}{owner}, 'fixture_app');
like($good, qr{^es1\.[A-Za-z0-9+/=]+\.[0-9a-f]{64}$}, 'a token');
holds($good, $a, 'a token of A');
holds($good_b, $b, 'a token of B');
ok(-f $key_file && ((stat $key_file)[2] & 0777) == 0600, 'the key file was made, for the server alone');

# every position, in one connection: each is another statement of its own
{
  my $sql = "SELECT entrestate.code_version() \\g /dev/null\n";
  my $n = 0;
  for my $at (0 .. length($good) - 1)
  {
    my $bad = $good;
    my $c = substr($good, $at, 1);
    # another character of the same alphabet
    substr($bad, $at, 1) = $c eq '0' ? '1' : $c =~ /[0-9a-f]/ ? ($c eq 'a' ? 'b' : 'a') : $c eq 'A' ? 'B' : 'A';
    $sql .= "BEGIN; SET LOCAL entrestate.session = '$bad'; ROLLBACK; BEGIN; $context; COMMIT;\n";
    $n++;
  }
  for (my $len = 1; $len < length($good); $len += 7)
  {
    $sql .= "BEGIN; SET LOCAL entrestate.session = '" . substr($good, 0, $len) . "'; ROLLBACK; BEGIN; $context; COMMIT;\n";
    $n++;
  }
  my ($head, $payload, $mac) = split /\./, $good;
  my ($other_payload, $other_mac) = (split /\./, $good_b)[ 1, 2 ];
  for my $bad ("$good ", " $good", "$good.", "${good}0", $good . '00' x 32, "$head.$payload=.$mac", "$head.$payload.\U$mac",
    "$head.$other_payload.$mac", "$head.$payload.$other_mac", "$head..$mac", "$head.$payload.", "$head.$payload", "$head.$mac.$payload",
    "ES1.$payload.$mac", "es2.$payload.$mac", "eb1.$payload.$mac", 'es1.', 'es1..', 'eb1.', 'eb1.....', 'eb1', 'x', '(set)', "$a", "$b/owner",
    'es1.' . 'A' x 3000 . ".$mac", 'es1.' . 'A' x 1_000_000 . ".$mac",
    # the inner form, as an attacker who knows how it is made would write it
    map { "eb1.$_.0.S.$b.6f." . '0' x 64 } 1 .. 5)
  {
    $sql .= "BEGIN; SET LOCAL entrestate.session = '$bad'; ROLLBACK; BEGIN; $context; COMMIT;\n";
    $n++;
  }
  my $r = run_as($node, 'fixture_app', $sql);
  is(state_of($r->{err}), join(',', ('28000') x $n), "$n altered, truncated and extended tokens are refused");
  is($r->{out}, join("\n", ('none: No tenant context has been entered in this transaction.') x $n), 'and there is no context after any');
}

# Tokens signed by others; and with the very key, to know that this forger could.
sub forge
{
  my ($key, @fields) = @_;
  my $text = 'es1.' . encode_base64(join("\n", @fields), '');
  return "$text." . hmac_sha256_hex($text, $key);
}
chomp(my $key = slurp_file($key_file));
my $later = time + 600;
holds(forge($key, $b, $later, 'fixture_app', 'l1', $ids->{b}{owner}), $b, 'a token made by who has the key');
fails(forge($_, $b, $later, 'fixture_app', 'l1', $ids->{b}{owner}), 'a token signed with another key', qr/no valid signature/)
  for '', 'x' x 32, substr($key, 0, 32), "$key\n", pack('H*', $key);
fails(forge($key, $b, $later, 'fixture_app2', 'l1', $ids->{b}{owner}), 'a token of another login role', qr/another login role or database/);
fails(forge($key, $b, $later, 'fixture_app', 'postgres', $ids->{b}{owner}), 'a token of another database', qr/another login role or database/);
fails(forge($key, $b, $later, 'fixture_app'), 'a token with too few fields', qr/malformed/);
fails(forge($key, 'x', $later, 'fixture_app', 'l1', 'u'), 'a token whose tenant is no uuid', qr/malformed/);
fails(forge($key, $b, $later, 'fixture_app', 'l1', 'u' x 256), 'a token with a long user', qr/malformed/);
is(with_token(forge($key, $b, $later, 'fixture_app', 'l1', $ids->{a}{owner}))->{out},
  "none: The session token is not that of a member of the tenant.\n0", 'a token of who is no member');
is(with_token(forge($key, '00000000-0000-7000-8000-000000000000', $later, 'fixture_app', 'l1', $ids->{a}{owner}))->{out},
  "none: The session token is not that of a member of the tenant.\n0", 'a token of a tenant that is not: the same words');
is(with_token(forge($key, $b, $later, 'fixture_app', 'l1', 'system'))->{out},
  "none: The session token is not that of a member of the tenant.\n0", 'the system is no member');
is(with_token(forge($key, $b, time - 1, 'fixture_app', 'l1', $ids->{b}{owner}))->{out},
  "none: The session token has expired.\n0", 'an expired token');

# by another login
fails($good, 'a token used by another login', undef, role => 'fixture_app2');
is(run_as($node, 'fixture_app2', "SET ROLE entrestate_app; SELECT entrestate.code_version() \\g /dev/null\nBEGIN; SET LOCAL entrestate.session = '$good'; $context")->{out},
  '', 'nor after SET ROLE');
holds(token($node, $a, $ids->{a}{owner}, 'fixture_app2'), $a, 'each login has its own', role => 'fixture_app2');
# in another database
$node->safe_psql('postgres', 'CREATE DATABASE l1b');
$node->safe_psql('l1b', 'SET client_min_messages = warning; CREATE EXTENSION entrestate; SELECT entrestate.migrate()');
fails($good, 'a token of this database used in another', qr/another login role or database/, database => 'l1b');

# who may mint, and for how long
for my $role (qw(fixture_app fixture_anon fixture_auditor fixture_nobody entrestate_worker fixture_gateway))
{
  is(state_of(run_as($node, $role, "SELECT entrestate.token_mint('$b', '$ids->{b}{owner}', 'fixture_app')")->{err}), '42501', "$role cannot mint");
  is(state_of(run_as($node, $role, "SELECT entrestate.login('$b', '$ids->{b}{owner}')")->{err}), '42501', "$role cannot log in as somebody");
}
like(run_as($node, 'fixture_gateway', "SET ROLE entrestate_authenticator; SELECT entrestate.token_mint('$b', '$ids->{b}{owner}', 'fixture_app')")->{out},
  qr/^es1\./, 'a gateway can, when it says so');
is(state_of(run_as($node, 'postgres', "SELECT entrestate.token_mint('$a', '$ids->{a}{owner}', 'fixture_app', '$_')")->{err}), '22023', "no token for $_")
  for '0', '-1 second', '1 hour 1 second', '1 month', '-1 month', '0.5 second', '178000000 years';
is(state_of(run_as($node, 'postgres', "SELECT entrestate.token_mint('$a', '$ids->{b}{owner}', 'fixture_app')")->{err}), '28000', 'none for who is no member');

# ---------------------------------------------------------------- when it ends

# Expiry is judged at a transaction's start: the one under way goes on, the next has no context.
{
  my $short = token($node, $a, $ids->{a}{owner}, 'fixture_app', '1 second');
  my $s = L1::Session->new($node->connstr('l1') . ' user=fixture_app');
  $s->query("SELECT entrestate.code_version()");
  my $first = $s->query("BEGIN; SET LOCAL entrestate.session = '$short'; $leads");
  my $over = 'none: The session token has expired.';
  ok($node->poll_query_until('l1',
      # now() is the start of each of these transactions
      "SELECT now() > to_timestamp(" . (split /\n/, decode_base64((split /\./, $short)[1]))[1] . ")"), 'a token of one second expires');
  is($first, $n, 'it held');
  is($s->query($leads), $n, 'the transaction under way goes on');
  $s->query('COMMIT');
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$short'; $context; COMMIT;"), $over, 'the next has no context');
  # the session's clock cannot be turned back, nor the simulation's help
  is($s->query("SET TimeZone = 'Pacific/Kiritimati'; BEGIN; SET LOCAL entrestate.session = '$short'; $context; COMMIT; RESET TimeZone"), $over, 'in any time zone');
  is($s->query('SET entrestate.clock = \'2020-01-01\''), '', 'an application');
  like($s->{err}, qr/42501/, '... cannot move the clock');
  $s->quit;
  is(run_as($node, 'postgres', "SET entrestate.clock = '2000-01-01'; SET SESSION AUTHORIZATION fixture_app; BEGIN; SET LOCAL entrestate.session = '$short'; $context")->{out},
    $over, 'nor would a moved clock bring it back');
}

# A bare SET survives its transaction, and is nothing there.
{
  my $s = L1::Session->new($node->connstr('l1') . ' user=fixture_app');
  my $old = 'none: The session token was set in an earlier transaction; a context ends with its transaction.';
  $s->query('SELECT entrestate.code_version()');
  is($s->query("BEGIN; SET entrestate.session = '$good'; $leads; COMMIT; $context; $leads"), "$n\n$old\n0", 'a bare SET ends with its transaction');
  is($s->query("SET entrestate.session = '$good'; $context"), $old, 'and outside of one is nothing');
  is($s->query("BEGIN; $context; COMMIT"), $old, 'also in the next');
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$good_b'; $leads; ROLLBACK; $context"), "$n\n$old", 'nor does a ROLLBACK bring it back');
  # savepoints
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$good'; SAVEPOINT s; SET LOCAL entrestate.session = '$good_b'; "
      . "SELECT entrestate.current_tenant() = '$b'; ROLLBACK TO s; SELECT entrestate.current_tenant() = '$a'; "
      . "SET LOCAL entrestate.session = ''; $leads; ROLLBACK TO s; $leads; RELEASE s; $leads; COMMIT"), "t\nt\n0\n$n\n$n", 'savepoints');
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$good'; SAVEPOINT s; SELECT 1/0; ROLLBACK TO s; SELECT entrestate.current_tenant() = '$a'; ROLLBACK; $leads"),
    "t\n0", 'an error in a savepoint');
  $s->query("BEGIN; SET LOCAL entrestate.session = '$good'; SET LOCAL entrestate.session = 'es1.x.y'; COMMIT");
  is($s->query($leads), '0', 'a refused token leaves nothing behind');
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$good'; RESET entrestate.session; $leads; COMMIT"), '0', 'RESET ends it');
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$good'; RESET ALL; $leads; COMMIT"), '0', 'RESET ALL too');
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$good'; SELECT entrestate.logout() \\g /dev/null\n$leads; COMMIT"), '0', 'and logout()');
  is($s->query("SET entrestate.session = '$good'; DISCARD ALL; $leads"), '0', 'DISCARD ALL');
  # procedures that commit
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$good'; COMMIT AND CHAIN; $leads; COMMIT"), '0', 'COMMIT AND CHAIN begins another transaction');
  $s->query("DO \$\$ BEGIN PERFORM set_config('entrestate.session', '$good', false); COMMIT; ASSERT entrestate.current_tenant() IS NULL; END \$\$");
  is($s->{err}, '', 'so does COMMIT in a DO block');
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$good'; PREPARE TRANSACTION 'x'; $leads"), '0', 'PREPARE TRANSACTION');
  $s->quit;
}

# Before the library is loaded the setting is anybody's. What was set in an earlier transaction may
# have been another client's.
{
  my $old = 'none: The session token was set in an earlier transaction; a context ends with its transaction.';
  my $none = 'none: No tenant context has been entered in this transaction.';
  is(run_as($node, 'fixture_app', "SET entrestate.session = '$good';\n$context;\n$context;\n$leads")->{out}, "$old\n$old\n0",
    'set before the library came, in an earlier transaction');
  is(run_as($node, 'fixture_app', "BEGIN;\nSET entrestate.session = '$good';\nCOMMIT;\nBEGIN;\nSAVEPOINT s;\nSET LOCAL entrestate.session = '$good_b';\n"
      . "SELECT entrestate.current_tenant() = '$b';\nROLLBACK TO s;\n$context;\nCOMMIT;\n$leads")->{out}, "t\n$old\n0",
    'and under a savepoint');
  is(run_as($node, 'fixture_app', "SET entrestate.session = '$good';\nBEGIN;\nSAVEPOINT s;\n$leads;\nROLLBACK TO s;\n$leads;\nCOMMIT;")->{out}, "0\n0",
    'or loaded in a savepoint that is rolled back');
  is(run_as($node, 'fixture_app', "BEGIN;\nSET LOCAL entrestate.session = '$good';\n$leads;\nCOMMIT;\n$leads")->{out}, "$n\n0",
    'set in the same transaction, it holds there');
  my $r = run_as($node, 'fixture_app', "BEGIN;\nSET LOCAL entrestate.session = 'es1.x.y';\n$context;\nCOMMIT;");
  is($r->{out}, $none, 'a forged one is no context');
  like($r->{err}, qr/WARNING:  28000: the session token does not hold/, '... with a warning');
  $r = run_as($node, 'fixture_app', "$context;\nSELECT reset_val, setting FROM pg_settings WHERE name = 'entrestate.session'", options => "-c entrestate.session=$good");
  is($r->{out}, "$none\n|", 'nor as an option of the connection');
  $r = run_as($node, 'fixture_app', "$context;\n$leads", options => "-c entrestate.bound_tenant=$b/owner");
  is($r->{out}, '', 'a client cannot bind itself');
  is(state_of($r->{err}), '42501,42501', '... and is told');
  $r = run_as($node, 'fixture_app', "SET entrestate.bound_tenant = '$b/owner';\n$context;\n$leads");
  is($r->{out}, "$none\n0", 'nor before the library comes');
  is(run_as($node, 'fixture_app', "SELECT entrestate.clock_moved()", options => '-c entrestate.clock=2020-01-01')->{out}, 'f', 'nor move the clock by an option');
}

# ---------------------------------------------------------------- what it shows

{
  my $r = run_as($node, 'fixture_app', "SELECT entrestate.code_version() \\g /dev/null\nBEGIN; SET LOCAL entrestate.session = '$good'; SHOW entrestate.session; SELECT current_setting('entrestate.session'); "
      . "SELECT s::text FROM pg_settings s WHERE name = 'entrestate.session'; SELECT s::text FROM pg_show_all_settings() s WHERE name = 'entrestate.session'; SHOW ALL");
  is(state_of($r->{err}), '', 'the setting can be shown');
  like($r->{out}, qr/^\(set\)\n\(set\)\n/, 'and is masked');
  unlike($r->{out}, qr/es1\.|eb1\./, 'everywhere');
  for my $try ("SET LOCAL entrestate.session = '(set)'", "SELECT set_config('entrestate.session', current_setting('entrestate.session'), true)",
    "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SET entrestate.session FROM CURRENT AS ''",
    "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SET entrestate.session = '$good' AS ''")
  {
    is(state_of(run_as($node, 'fixture_app', "SELECT entrestate.code_version() \\g /dev/null\nBEGIN; SET LOCAL entrestate.session = '$good';\n$try")->{err}), '28000', 'refused: ' . substr($try, 0, 60));
  }
  for my $role (qw(fixture_app postgres))
  {
    for my $try ("ALTER ROLE fixture_app SET entrestate.session = '$good'", "ALTER ROLE fixture_app IN DATABASE l1 SET entrestate.session = '$good'",
      "ALTER DATABASE l1 SET entrestate.session = '$good'", "ALTER ROLE ALL SET entrestate.session = '$good'", "ALTER SYSTEM SET entrestate.session = '$good'")
    {
      my $err = run_as($node, $role, "SELECT entrestate.code_version() \\g /dev/null\n$try")->{err};
      like(state_of($err), qr/^(28000|42501)$/, "refused to $role: " . substr($try, 0, 50)) or diag $err;
    }
  }
}

# ---------------------------------------------------------------- members who go, roles that change

{
  my $t = token($node, $a, $ids->{a}{admin}, 'fixture_app');
  my $s = L1::Session->new($node->connstr('l1') . ' user=fixture_app');
  my $w = L1::Session->new($node->connstr('l1') . ' user=postgres');
  my $freeze = "SELECT entrestate.can('members.manage')";
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$t'; $freeze; $leads"), "t\n$n", 'an admin');
  $w->query("BEGIN; SELECT entrestate.login('$a', '$ids->{a}{owner}'); SELECT entrestate.member_update('$ids->{a}{admin}', 'viewer'); COMMIT");
  is($w->{err}, '', 'becomes a viewer');
  is($s->query($freeze), 't', 'the transaction under way keeps the role it began with');
  $s->query('COMMIT');
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$t'; $freeze; $leads; COMMIT"), "f\n$n", 'the next one, same token, has the new role');
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$t'; $leads"), $n, 'a member');
  $w->query("BEGIN; SELECT entrestate.login('$a', '$ids->{a}{owner}'); SELECT entrestate.member_remove('$ids->{a}{admin}'); COMMIT");
  is($s->query($leads), $n, 'who is removed: the transaction under way is not cut off');
  $s->query('COMMIT');
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$t'; $context; $leads; COMMIT"),
    "none: The session token is not that of a member of the tenant.\n0", 'but the next one has no context, at once and with every token');
  is(state_of(run_as($node, 'postgres', "SELECT entrestate.login('$a', '$ids->{a}{admin}')")->{err}), '28000', 'nor can a gateway log in');
  is($s->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SET LOCAL entrestate.session = '$t'; $leads; COMMIT"), "1\n0", 'an old snapshot does not help');
  $w->query("BEGIN; SELECT entrestate.login('$a', '$ids->{a}{owner}'); SELECT entrestate.member_add('$ids->{a}{admin}', 'admin')");
  is($s->query("BEGIN; SET LOCAL entrestate.session = '$t'; $leads; COMMIT"), '0', 'one whose adding is not committed is none');
  $w->query('ROLLBACK');
  # removed between BEGIN and the first use
  $w->query("BEGIN; SELECT entrestate.login('$a', '$ids->{a}{owner}'); SELECT entrestate.member_add('$ids->{a}{admin}', 'admin'); COMMIT");
  $s->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SET LOCAL entrestate.session = '$t'");
  $w->query("BEGIN; SELECT entrestate.login('$a', '$ids->{a}{owner}'); SELECT entrestate.member_remove('$ids->{a}{admin}'); COMMIT");
  is($s->query("$leads; COMMIT"), '0', 'removed before the first use, in whatever snapshot: no context');
  $_->quit for $s, $w;
}

# ---------------------------------------------------------------- bound roles

{
  $node->safe_psql('postgres', "CREATE ROLE bound_b LOGIN IN ROLE entrestate_app; ALTER ROLE bound_b SET entrestate.bound_tenant = '$b/viewer'; "
      . "CREATE ROLE bound_gateway LOGIN IN ROLE entrestate_app, entrestate_authenticator; ALTER ROLE bound_gateway SET entrestate.bound_tenant = '$b'");
  my $r = run_as($node, 'bound_b', "$context;\n$leads;\nSELECT entrestate.current_member_role(), entrestate.current_actor()");
  is($r->{out}, "$b: The context holds.\n$n\nviewer|role:bound_b", 'a bound role is in its tenant, in its role, in each statement');
  my $t = token($node, $a, $ids->{a}{owner}, 'bound_b');
  is(run_as($node, 'bound_b', "BEGIN;\nSET LOCAL entrestate.session = '$t';\n$context;\n$leads;\nCOMMIT;\n$leads")->{out},
    "none: This login role is bound to another tenant.\n0\n$n", 'no token reaches another tenant: the binding is a ceiling');
  holds(token($node, $b, $ids->{b}{owner}, 'bound_b'), $b, 'one of its own does', role => 'bound_b');
  is(state_of(run_as($node, 'bound_gateway', "SELECT entrestate.login('$a', '$ids->{a}{owner}')")->{err}), '28000', 'nor does a login');
  is(state_of(run_as($node, 'bound_gateway', "SELECT entrestate.login('$b', '$ids->{b}{owner}')")->{err}), '', 'but one into its own');
  for my $try ("SET entrestate.bound_tenant = '$a/owner'", "SET LOCAL entrestate.bound_tenant = ''", "SELECT set_config('entrestate.bound_tenant', '', false)",
    'RESET entrestate.bound_tenant', 'ALTER ROLE bound_b RESET entrestate.bound_tenant', "ALTER ROLE bound_b SET entrestate.bound_tenant = '$a/owner'",
    'ALTER ROLE bound_b RESET ALL', 'RESET ALL', 'DISCARD ALL', "UPDATE pg_db_role_setting SET setconfig = NULL", "ALTER DATABASE l1 SET entrestate.bound_tenant = '$a'",
    "SET ROLE entrestate_app", "SET SESSION AUTHORIZATION DEFAULT", 'SET ROLE NONE', "UPDATE pg_settings SET setting = '' WHERE name = 'entrestate.bound_tenant'",
    "CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE sql SET entrestate.bound_tenant = '$a/owner' AS 'SELECT count(*) FROM entrestate.leads'; SELECT pg_temp.f()",
    "LOAD 'entrestate'", "DO LANGUAGE plpgsql 'BEGIN PERFORM set_config(''entrestate.bound_tenant'', ''$a'', true); EXCEPTION WHEN OTHERS THEN NULL; END'")
  {
    is(run_as($node, 'bound_b', "SELECT entrestate.code_version() \\g /dev/null\nBEGIN;\n\\set ON_ERROR_ROLLBACK on\n$try \\g /dev/null\n$context;\nCOMMIT")->{out},
      "$b: The context holds.", 'still in its tenant after ' . substr($try, 0, 60))
      unless $try eq 'DISCARD ALL';
    # in the next connection, and (first statement) before the library is loaded
    is(run_as($node, 'bound_b', "$try \\g /dev/null\n$context")->{out}, "$b: The context holds.", 'and as the first statement, ' . substr($try, 0, 50));
  }
  # a client's option ranks above the role's setting: with one there is nothing at all
  for my $option ("$a/owner", "$b/owner", '', 'x')
  {
    my $r = run_as($node, 'bound_b', "$context;\n$leads;\nBEGIN;\nSET LOCAL entrestate.session = '$t';\n$leads;\nROLLBACK;\n$context",
      options => "-c entrestate.bound_tenant=$option");
    is($r->{out}, '', "an option of the connection does not loosen the binding: \"$option\"");
    like(state_of($r->{err}), qr/^42501(,\w+)*$/, '... and is told') or diag $r->{err};
  }
  is(state_of(run_as($node, 'postgres', "SELECT entrestate.code_version() \\g /dev/null\nALTER ROLE bound_b SET entrestate.bound_tenant = '$_'")->{err}), '22023', "refused: bound to \"$_\"")
    for 'x', "$b/", "$b/god", "$b/owner/", "/$b";
  $node->safe_psql('postgres', "ALTER ROLE bound_b SET entrestate.bound_tenant = '00000000-0000-7000-8000-000000000000/owner'");
  is(run_as($node, 'bound_b', "SELECT entrestate.current_tenant() IS NULL;\n$leads")->{out}, "t\n0", 'bound to no tenant: no context');
}

# ---------------------------------------------------------------- the key file

{
  my $new = 'f' x 64;
  my $write = sub {
    my ($text, $mode) = @_;
    open my $fh, '>', "$key_file.new" or die $!;
    print $fh $text;
    close $fh;
    chmod $mode // 0600, "$key_file.new";
    rename "$key_file.new", $key_file or die $!;
  };
  my $s = L1::Session->new($node->connstr('l1') . ' user=fixture_app');
  my $use = sub { my $out = $s->query("BEGIN; SET LOCAL entrestate.session = '$_[0]'; $leads; COMMIT"); return $s->{err} ? 'refused' : $out };
  my $old_token = token($node, $a, $ids->{a}{owner}, 'fixture_app');
  $s->query('SELECT entrestate.code_version()');
  is($use->($old_token), $n, 'one key');
  $write->("# rotated\n\n$new\r\n$key\n");
  my $new_token = token($node, $a, $ids->{a}{owner}, 'fixture_app');
  is((split /\./, $new_token)[2], hmac_sha256_hex($new_token =~ s/\.[^.]*$//r, $new), 'two keys: the first signs');
  is($use->($old_token), $n, 'both verify, in a session that has read the file before');
  is($use->($new_token), $n, 'the new one too');
  $write->("$new\n");
  is($use->($old_token), 'refused', 'a key that is taken away verifies no more');
  is($use->($new_token), $n, 'the other one does');
  for my $bad ([ "$new\n", 0644, 'readable by others' ], [ "$new\n", 0660, 'writable by the group' ], [ "short\n", 0600, 'with a short key' ], [ "$new\nshort\n", 0600, 'with a short second key' ],
    [ '', 0600, 'that is empty' ], [ "# nothing\n", 0600, 'without a key' ], [ "$new\n" . 'x' x 70000, 0600, 'that is too large' ])
  {
    my ($text, $mode, $what) = @$bad;
    $write->($text, $mode);
    is($use->(forge('', $b, $later, 'fixture_app', 'l1', $ids->{b}{owner})), 'refused', "a key file $what: an empty key does not verify");
    is($use->($old_token), 'refused', "... nor does what is signed with no key of it");
    next if $what =~ /second/;  # the first signs
    my $err = run_as($node, 'postgres', "SELECT entrestate.token_mint('$a', '$ids->{a}{owner}', 'fixture_app')")->{err};
    is(state_of($err), 'F0000', '... and nothing can be minted');
    unlike($err, qr/$new/, '... and the error does not show it');
  }
  unlink $key_file;
  is($use->($new_token), 'refused', 'no key file: no token');
  like($s->{err}, qr/28000/, '... by the same error');
  mkdir $key_file;
  is($use->($new_token), 'refused', 'a directory for a key file');
  rmdir $key_file;
  token($node, $a, $ids->{a}{owner}, 'fixture_app');
  chomp(my $made = slurp_file($key_file));
  like($made, qr/^[0-9a-f]{64}$/, 'the next minting makes another key');
  isnt($made, $key, '... a new one');
  $s->quit;
}

# A long actor, and one with every byte that could be taken for a separator, through the inner form.
{
  my $odd = "a.b\\n'\"é;" . 'x' x 230;
  $node->safe_psql('l1', "BEGIN; SELECT entrestate.login('$a', '$ids->{a}{owner}'); SELECT entrestate.member_add(\$x\$$odd\$x\$, 'viewer'); COMMIT");
  is(with_token($node->safe_psql('l1', "SELECT entrestate.token_mint('$a', \$x\$$odd\$x\$, 'fixture_app')"))->{out}, "$a: The context holds.\n$n", 'an odd user');
}
$node->stop;
done_testing();
