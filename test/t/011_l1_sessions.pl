# L1, by real logins: COPY, parallel workers, prepared statements and cursors across tenants, every
# setting, leaky functions, roles, PostgREST's pre-request.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use L1;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = l1_node('l1sessions');
my $ids = l1_ids($node);
my ($a, $b) = ($ids->{a}{tenant}, $ids->{b}{tenant});
my $token_a = token($node, $a, $ids->{a}{owner}, 'fixture_app', '1 hour');
my $token_b = token($node, $b, $ids->{b}{owner}, 'fixture_app', '1 hour');
my $in_a = "BEGIN;\nSET LOCAL entrestate.session = '$token_a';\n";
my $load = "SELECT entrestate.code_version() \\g /dev/null\n";
$node->safe_psql('l1', 'GRANT CREATE ON SCHEMA public TO PUBLIC');

# B's secrets, and what of them is in a text
is(run_as($node, 'postgres', "SET check_function_bodies = off;\n\\i $FindBin::Bin/../pgtap/l1_lib.sql")->{err}, '', 'the attacker\'s tools');
my @secrets = split /\n/, $node->safe_psql('l1', 'SELECT word FROM attack.secret');
cmp_ok(scalar(@secrets), '>', 20, 'B has secrets');
sub secrets_in
{
  my ($text, $known) = @_;
  $known //= '';
  return join ', ', grep { index($text, $_) >= 0 && index($known, $_) < 0 } @secrets;
}
my @relations = split /\n/, $node->safe_psql('l1',
  "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'entrestate'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 1");
my @tenant_tables = split /\n/, $node->safe_psql('l1',
  "SELECT format('entrestate.%I', table_name) FROM entrestate.protected_tables WHERE kind IN ('tenant', 'events', 'derived') ORDER BY 1");
cmp_ok(scalar(@tenant_tables), '>', 10, 'tables of tenants');

# ---------------------------------------------------------------- COPY

{
  for my $context ($in_a, "BEGIN;\n")
  {
    my $sql = $context . "\\set ON_ERROR_ROLLBACK on\n";
    $sql .= "COPY $_ TO STDOUT;\nCOPY (SELECT * FROM $_) TO STDOUT;\nCOPY (SELECT x::text FROM $_ x) TO STDOUT WITH (FORMAT csv);\n" for @relations;
    my $r = run_as($node, 'fixture_app', $sql);
    is(secrets_in("$r->{out}$r->{err}"), '', 'COPY TO shows nothing of B');
    is(join(',', grep { $_ ne '42501' && $_ ne '42809' } split /,/, state_of($r->{err})), '', '... nor fails otherwise than for want of a privilege');
    $context eq $in_a ? like($r->{out}, qr/zqalpha/, '... but what is A\'s') : unlike($r->{out}, qr/zqalpha/, '... without a context, nothing of A');
    my @errors;
    for my $rel (@relations)
    {
      $r = run_as($node, 'fixture_app', "${context}COPY $rel FROM STDIN;\n\\.\nROLLBACK;\n");
      push @errors, "$rel: $r->{err}" if state_of($r->{err}) !~ /^(42501|0A000|42809)/;
    }
    is("@errors", '', 'COPY FROM is refused for every relation');
  }
}

# ---------------------------------------------------------------- parallel workers

# enough rows that a scan is worth workers; made past the guards, which are another test's
$node->safe_psql('l1', <<SQL);
SET session_replication_role = replica;
INSERT INTO entrestate.leads (tenant_id, lead_id, full_name, source, created_at, updated_at)
  SELECT t, gen_random_uuid(), CASE t WHEN '$a' THEN 'zqalpha' ELSE 'zqbeta' END || ' many', 'import', now(), now()
  FROM unnest(ARRAY['$a', '$b']::uuid[]) t, generate_series(1, 20000);
ANALYZE entrestate.leads;
CREATE TABLE public.numbers AS SELECT n FROM generate_series(1, 50000) n;
GRANT SELECT ON public.numbers TO PUBLIC;
ANALYZE public.numbers;
CREATE ROLE bound_b LOGIN IN ROLE entrestate_app;
ALTER ROLE bound_b SET entrestate.bound_tenant = '$b/viewer';
SQL
my $n = $node->safe_psql('l1', "SELECT count(*) FROM entrestate.leads WHERE tenant_id = '$a'");
my $parallel = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2; "
  . "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off; SET parallel_leader_participation = off;\n";
my $forced = $node->safe_psql('l1', "SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')");
{
  my $scan = "SELECT count(*), count(DISTINCT tenant_id), min(tenant_id::text) FROM entrestate.leads WHERE full_name LIKE 'zq%'";
  my $asked = 'SELECT count(*), count(DISTINCT t), min(t::text) FROM (SELECT entrestate.current_tenant() AS t FROM public.numbers WHERE n % 2 = 0 AND entrestate.current_tenant() IS NOT NULL) x';
  my $launched = sub {
    my ($query, $context) = @_;
    my $r = run_as($node, 'fixture_app', "$parallel${context}EXPLAIN (ANALYZE, COSTS off) $query");
    like($r->{out}, qr/Workers Launched: [1-9]/, 'workers are at work') or diag "$r->{out}\n$r->{err}";
    is(secrets_in($r->{out}), '', '... and EXPLAIN shows nothing of B');
  };
  $launched->($_, $in_a) for $scan, $asked;
  my @contexts = (
    [ 'fixture_app', $in_a, "$n|1|$a", "25000|1|$a", 'a token' ],
    [ 'fixture_app', "BEGIN;\n", '0|0|', '0|0|', 'no context' ],
    [ 'fixture_app', "SET entrestate.session = '$token_a';\n", '0|0|', '0|0|', 'a token of an earlier transaction' ],
    [ 'fixture_app', "${load}SET entrestate.session = '$token_a';\n", '0|0|', '0|0|', 'the same, set with the library loaded' ],
    [ 'fixture_app', "${in_a}SAVEPOINT s;\nSET LOCAL entrestate.session = '$token_b';\n$scan;\n\\echo --\nROLLBACK TO s;\n", "$n|1|$a", "25000|1|$a", 'a token under a savepoint that was rolled back' ],
    [ 'bound_b', '', "$n|1|$b", "25000|1|$b", 'a bound role' ]);
  for my $c (@contexts)
  {
    my ($role, $context, $rows, $calls, $what) = @$c;
    for my $force ('off', 'on')
    {
      for ([ $scan, $rows ], [ $asked, $calls ])
      {
        my $r = run_as($node, $role, "$parallel SET $forced = $force;\n$context$_->[0];\n");
        is($r->{out} =~ s/.*--\n//sr, $_->[1], "in workers ($force): $what") or diag $r->{err};
      }
    }
    # the whole query in a worker, functions of ours too
    my $r = run_as($node, $role, "$parallel SET $forced = on;\n${context}SELECT coalesce(tenant_id::text, ''), entrestate.can('lead.read') FROM entrestate.context()");
    is($r->{out} =~ s/.*--\n//sr, $rows =~ /\|(\w.*)/ ? ($rows =~ /\|([^|]+)$/ ? "$1|t" : '|f') : '|f', "context() in a worker: $what") or diag $r->{err};
  }
  # expiry does not break what is running
  # (a busy machine may need longer to get there than a token holds: then it gets another one)
  my ($short, $s, $holds);
  for (1, 4, 16, 64)
  {
    $holds = $_;
    $short = token($node, $a, $ids->{a}{owner}, 'fixture_app', "$holds seconds");
    $s = L1::Session->new($node->connstr('l1') . ' user=fixture_app');
    last if $s->query("$parallel BEGIN; SET LOCAL entrestate.session = '$short'; SELECT entrestate.current_tenant()") =~ /\Q$a\E/;
    $s->quit;
  }
  $node->poll_query_until('l1', "SELECT now() > (SELECT xact_start + interval '@{[ $holds + 1 ]} seconds' FROM pg_stat_activity WHERE usename = 'fixture_app' AND state = 'idle in transaction')");
  is($s->query($scan), "$n|1|$a", 'a token that expires in a transaction breaks no parallel query of it');
  is($s->query("COMMIT; BEGIN; SET LOCAL entrestate.session = '$short'; $scan; COMMIT"), '0|0|', '... and the next transaction has no context, workers included');
  $s->quit;
}

# ---------------------------------------------------------------- prepared statements, cursors, functions

{
  my $s = L1::Session->new($node->connstr('l1') . ' user=fixture_app');
  my $in = sub { my ($token, $sql) = @_; return $s->query('BEGIN; ' . ($token ? "SET LOCAL entrestate.session = '$token'; " : '') . "$sql; COMMIT") };
  my @statements = ("SELECT count(*), min(tenant_id::text) FROM entrestate.members",
    "SELECT count(*), min(m.tenant_id::text) FROM entrestate.members m JOIN entrestate.tenants t USING (tenant_id) WHERE m.role <> 'x'",
    "SELECT count(*), min(tenant_id::text) FROM entrestate.activity_events WHERE recorded_at > '-infinity'");
  my $expect = sub { my ($who) = @_; $node->safe_psql('l1', "BEGIN; SELECT fixture.enter('$who') \\g /dev/null\nSET LOCAL ROLE fixture_app;\n$_[1]") };
  for my $mode (qw(auto force_generic_plan force_custom_plan))
  {
    for my $i (0 .. $#statements)
    {
      my ($of_a, $of_b) = map { $expect->($_, $statements[$i]) } qw(a b);
      isnt($of_a, $of_b, 'the answers are different');
      $s->query("SET plan_cache_mode = $mode; PREPARE p AS $statements[$i]");
      my @got = ($in->('', 'EXECUTE p'));
      push @got, $in->($_, 'EXECUTE p') for ($token_a, $token_b, $token_a, $token_b) x 3, '', $token_b;
      is(join(' ', @got), join(' ', '0|', ($of_a, $of_b, $of_a, $of_b) x 3, '0|', $of_b), "prepared before any context, $mode, statement $i") or diag $s->{err};
      $s->query('DEALLOCATE p');
      # and prepared in A's
      $in->($token_a, "PREPARE p AS $statements[$i]; EXECUTE p");
      is(join(' ', map { $in->($_, 'EXECUTE p') } $token_b, '', $token_a), "$of_b 0| $of_a", "prepared in A's context, $mode, statement $i");
      $s->query('DEALLOCATE p');
    }
  }
  $s->query("RESET plan_cache_mode");
  # functions, views and tables of an application's own
  $s->query("CREATE FUNCTION public.mine() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT count(*) FROM entrestate.members WHERE tenant_id = ''$b''); END'");
  $s->query("CREATE FUNCTION public.mine_sql() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS 'SELECT count(*) FROM entrestate.members WHERE tenant_id = ''$b'''");
  $s->query('CREATE VIEW public.my_view AS SELECT * FROM entrestate.members; GRANT SELECT ON public.my_view TO PUBLIC');
  my $mine = "SELECT public.mine() || ' ' || public.mine_sql() || ' ' || (SELECT count(*) FROM public.my_view WHERE tenant_id = '$b')";
  is(join(', ', map { $in->($_, $mine) } '', $token_a, $token_b, $token_a, ''), '0 0 0, 0 0 0, 6 6 6, 0 0 0, 0 0 0', 'functions and views of an application\'s own');
  is(run_as($node, 'fixture_app2', $mine)->{out}, '0 0 0', '... used by another login');
  unlike(run_as($node, 'fixture_nobody', "SELECT public.mine();\nSELECT count(*) FROM public.my_view")->{out}, qr/[1-9]/, '... or by somebody who may not even read the tables');
  is(state_of(run_as($node, 'fixture_nobody', 'SELECT count(*) FROM entrestate.members')->{err}), '42501', '... like that one');

  # cursors
  $in->('', 'DECLARE before CURSOR WITH HOLD FOR SELECT tenant_id FROM entrestate.members');
  is($in->($token_b, 'FETCH ALL FROM before'), '', 'a cursor held from before any context has no rows later');
  $in->($token_a, 'DECLARE held CURSOR WITH HOLD FOR SELECT DISTINCT tenant_id FROM entrestate.members');
  is($in->($token_b, 'FETCH ALL FROM held'), $a, 'a held cursor is what was read when it was A\'s: nothing of B comes into it');
  $s->query("BEGIN; SET LOCAL entrestate.session = '$token_a'; DECLARE late CURSOR WITH HOLD FOR SELECT DISTINCT tenant_id FROM entrestate.members; SET LOCAL entrestate.session = ''; COMMIT");
  unlike($in->($token_b, 'FETCH ALL FROM late'), qr/$b/, 'nor into one that is filled at COMMIT');
  $s->query("BEGIN; SET LOCAL entrestate.session = '$token_a'; DECLARE c SCROLL CURSOR FOR SELECT DISTINCT tenant_id FROM entrestate.members; FETCH c; SAVEPOINT s");
  is($s->query("SET LOCAL entrestate.session = ''; FETCH ABSOLUTE 1 FROM c; FETCH ALL FROM c; COMMIT"), $a, 'a cursor stays in the context in which it began');
  # a temporary table keeps what was put into it, and is the session's
  $in->($token_a, 'CREATE TEMP TABLE keep AS SELECT DISTINCT tenant_id FROM entrestate.members');
  is($in->($token_b, "SELECT count(*) FROM keep WHERE tenant_id = '$b'; INSERT INTO keep SELECT DISTINCT tenant_id FROM entrestate.members; SELECT count(*) FROM keep"), "0\n2", 'a temporary table');
  $s->query('DISCARD ALL');
  is($s->query("SELECT count(*) FROM pg_cursors; SELECT count(*) FROM pg_prepared_statements; SELECT to_regclass('keep')"), "0\n0\n", 'DISCARD ALL takes all of that away');
  $s->quit;
}

# ---------------------------------------------------------------- every setting

{
  my @settings = split /\n/, $node->safe_psql('l1', "SELECT entrestate.code_version() \\g /dev/null\nSELECT name FROM pg_settings WHERE name LIKE 'entrestate.%' ORDER BY 1");
  cmp_ok(scalar(@settings), '>=', 10, 'settings of entrestate');
  push @settings, 'row_security', 'session_replication_role', 'session_preload_libraries', 'local_preload_libraries', 'entrestate.made_up';
  my @values = ($b, "$b/owner", $token_b, "eb1.5.0.S.$b.6f." . '0' x 64, '', 'on', 'off', '0', 'replica', '/etc/passwd', '2000-01-01', '-10 years');
  for my $name (@settings)
  {
    my ($sql, @tries) = ('');
    for my $v (grep { $name ne 'entrestate.session' || $_ ne $token_b } @values)
    {
      push @tries, "SET $name = '$v'", "SET LOCAL $name = '$v'", "SELECT set_config('$name', '$v', true)", "SELECT set_config('$name', '$v', false)",
        "ALTER ROLE fixture_app SET $name = '$v'", "ALTER DATABASE l1 SET $name = '$v'", "ALTER SYSTEM SET $name = '$v'",
        "UPDATE pg_settings SET setting = '$v' WHERE name = '$name'",
        "CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE sql SET $name = '$v' AS 'SELECT count(*) FROM entrestate.leads'; SELECT pg_temp.f() - pg_temp.f()";
    }
    push @tries, "RESET $name", "SET $name TO DEFAULT", "SHOW $name";
    # each in a transaction of its own, with and without the library loaded first
    for my $try (@tries)
    {
      $sql .= "BEGIN;\nSET LOCAL entrestate.session = '$token_a';\nSAVEPOINT s;\n$try \\g /dev/null\n"
        . "SELECT 'b:' || count(*) FROM entrestate.leads WHERE tenant_id = '$b';\nSELECT 't:' || coalesce(entrestate.current_tenant()::text, 'none');\n"
        . "ROLLBACK TO s;\nROLLBACK;\n";
    }
    for my $first ('', $load)
    {
      my $r = run_as($node, 'fixture_app', $first . $sql);
      my %seen;
      $seen{$_}++ for $r->{out} =~ /^([bt]:.*)$/mg;
      is(join(' ', sort grep { $_ ne 'b:0' && $_ ne "t:$a" && $_ ne 't:none' } keys %seen), '', "$name set by an application: nothing of B");
      $r->{out} =~ s/$b//g;
      is(secrets_in("$r->{out}$r->{err}", "@values $sql"), '', '... nor shown');
    }
    is(run_as($node, 'fixture_app', "$in_a SELECT entrestate.current_tenant()")->{out}, $a, '... and nothing is left of it');
  }
  # what only a superuser reads
  for my $name (grep { /key_file|issuer|audience/ } @settings)
  {
    is(state_of(run_as($node, 'fixture_app', "${load}SHOW $name")->{err}), '42501', "$name is not shown to applications");
    is(run_as($node, 'fixture_app', "${load}SELECT count(*) FROM pg_settings WHERE name = '$name'")->{out}, '0', '... nor listed');
  }
  is($node->safe_psql('l1', 'SELECT count(*) FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole WHERE rolname LIKE \'fixture%\''), '0', 'no setting of a role was left');
  is(state_of(run_as($node, 'fixture_app', "${in_a}SET LOCAL row_security = off;\nSELECT count(*) FROM entrestate.leads")->{err}), '42501', 'row_security = off is an error');
  is(state_of(run_as($node, 'fixture_app', 'SET session_replication_role = replica')->{err}), '42501', 'the replication role is not an application\'s');
}

# ---------------------------------------------------------------- leaky functions

{
  # cheaper than the policy, and telling: in WHERE, as an operator, in a join, in a view, in a sort
  my $make = q{
CREATE SCHEMA evil AUTHORIZATION fixture_app;
SET SESSION AUTHORIZATION fixture_app;
CREATE FUNCTION evil.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000000001 AS 'BEGIN RAISE NOTICE ''leak %'', $1; RETURN true; END';
CREATE FUNCTION evil.leak2(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000000001 AS 'BEGIN RAISE NOTICE ''leak %'', $1; RETURN true; END';
CREATE OPERATOR evil.<<< (FUNCTION = evil.leak2, LEFTARG = text, RIGHTARG = text, RESTRICT = eqsel, JOIN = eqjoinsel, COMMUTATOR = OPERATOR(evil.<<<));
CREATE FUNCTION evil.key(text) RETURNS text LANGUAGE plpgsql IMMUTABLE COST 0.0000000001 AS 'BEGIN RAISE NOTICE ''leak %'', $1; RETURN $1; END';
CREATE FUNCTION evil.leak_proof(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS 'SELECT true';
};
  my $r = run_as($node, 'postgres', $make);
  is(state_of($r->{err}), '42501', 'functions of the attacker\'s; LEAKPROOF is not an application\'s to say');
  my @ways = ('SELECT count(*) FROM %s x WHERE evil.leak(x::text)', 'SELECT count(*) FROM %s x WHERE x::text OPERATOR(evil.<<<) \'x\'',
    'SELECT count(*) FROM %s x JOIN (VALUES (\'x\')) v(v) ON evil.leak2(x::text, v)', 'SELECT count(*) FROM (SELECT * FROM %s x ORDER BY evil.key(x::text)) y',
    'SELECT evil.key(x::text), count(*) FROM %s x GROUP BY 1', 'SELECT count(*) FILTER (WHERE evil.leak(x::text)) FROM %s x',
    'WITH v AS NOT MATERIALIZED (SELECT * FROM %s) SELECT count(*) FROM v WHERE evil.leak(v::text) OR true',
    'SELECT count(*) FROM %s x WHERE (x::text)::integer = 1', 'SELECT count(*) FROM %s x WHERE 1 / (CASE WHEN x::text LIKE \'%%zqbeta%%\' THEN 0 ELSE 1 END) = 1',
    'SELECT count(*) FROM %s x WHERE jsonb_path_exists(to_jsonb(x), \'strict $.nothing\')', 'EXPLAIN ANALYZE SELECT * FROM %s x WHERE evil.leak(x::text)');
  my $sql = "\\set ON_ERROR_ROLLBACK on\n\\set VERBOSITY default\n";
  for my $rel (@relations)
  {
    $sql .= sprintf("$_;\n", $rel) for @ways;
  }
  # a small table for this: the many rows have served
  $node->safe_psql('l1', "SET session_replication_role = replica; DELETE FROM entrestate.leads WHERE full_name LIKE '% many'");
  for my $context ($in_a, "BEGIN;\n")
  {
    $r = run_as($node, 'fixture_app', $context . $sql);
    is(secrets_in("$r->{out}$r->{err}"), '', 'leaky functions, casts and divisions see nothing of B');
    unlike($r->{err}, qr/division by zero/, '... not even whether it is there');
    $context eq $in_a ? like($r->{err}, qr/leak .*zqalpha/, '... but what is A\'s') : unlike($r->{err}, qr/zqalpha/, '... without a context, nothing of anybody');
  }
}

# ---------------------------------------------------------------- roles

{
  # 16 and 17 refuse members of pg_database_owner by an internal error
  my @roles = split /\n/, $node->safe_psql('l1', "SELECT rolname FROM pg_roles WHERE rolname NOT IN ('fixture_app', 'entrestate_app', 'pg_database_owner')");
  for my $login (qw(fixture_app fixture_anon fixture_nobody fixture_auditor fixture_gateway entrestate_worker))
  {
    my %own = (fixture_app => ['entrestate_app'], fixture_anon => ['entrestate_anon'], fixture_auditor => ['entrestate_auditor'],
      fixture_gateway => ['entrestate_authenticator']);
    my %may = map { $_ => 1 } @{ $own{$login} // [] }, $login;
    my @got;
    for my $role (grep { !$may{$_} } @roles, 'entrestate_app')
    {
      next if $role eq 'entrestate_app' && $login eq 'fixture_app';
      for my $try ("SET ROLE $role", "SET LOCAL ROLE $role", "SET SESSION AUTHORIZATION $role", "SELECT set_config('role', '$role', false)", "GRANT $role TO $login",
        "CREATE ROLE x IN ROLE $role", "ALTER ROLE $role PASSWORD 'x'", "ALTER ROLE $login SUPERUSER", "ALTER ROLE $login BYPASSRLS", "REASSIGN OWNED BY $role TO $login",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET role = '$role' AS 'SELECT 1'; SELECT pg_temp.f()")
      {
        push @got, "$try;\n";
      }
    }
    my $r = run_as($node, $login, "BEGIN;\n" . join('', map { "SAVEPOINT s;\n${_}SELECT 'escaped: ' || current_user || session_user WHERE current_user <> '$login' OR session_user <> '$login';\nROLLBACK TO s;\n" } @got));
    is($r->{out}, '', "$login becomes nobody else");
    my %states = map { $_ => 1 } split /,/, state_of($r->{err});
    # 25P02: what came after the error in its savepoint
    is(join(' ', sort grep { $_ !~ /^(42501|25P02|0A000|42939|22023)$/ } keys %states), '', '... refused for want of a privilege') or diag $r->{err};
  }
  my @tries = ("SELECT pg_read_file('entrestate.key')", "SELECT pg_read_binary_file('entrestate.key')", "SELECT pg_stat_file('entrestate.key')", "SELECT pg_ls_dir('.')",
    "SELECT lo_import('entrestate.key')", "COPY (SELECT 1) TO 'entrestate.key'", "CREATE TEMP TABLE k (k text); COPY k FROM 'entrestate.key'", "COPY (SELECT 1) TO PROGRAM 'cat'",
    "LOAD '\$libdir/plugins/../entrestate'", "CREATE FUNCTION public.c() RETURNS int LANGUAGE c AS '\$libdir/entrestate', 'tenancy_enter_system'",
    "CREATE FUNCTION public.c() RETURNS int LANGUAGE internal AS 'pg_current_xact_id'",
    "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION entrestate.guard_drop()", 'ALTER EXTENSION entrestate UPDATE', 'DROP EXTENSION entrestate CASCADE',
    'ALTER EXTENSION entrestate DROP FUNCTION entrestate.current_tenant()', 'CREATE TABLE entrestate.mine ()', 'CREATE FUNCTION entrestate.mine() RETURNS int LANGUAGE sql AS \'SELECT 1\'',
    'CREATE OR REPLACE FUNCTION entrestate.current_tenant() RETURNS uuid LANGUAGE sql AS \'SELECT NULL::uuid\'', 'ALTER FUNCTION entrestate.current_tenant() COST 1',
    'ALTER SCHEMA entrestate RENAME TO x', 'DROP SCHEMA entrestate CASCADE', 'CREATE PUBLICATION p FOR ALL TABLES', 'CREATE SUBSCRIPTION s CONNECTION \'\' PUBLICATION p',
    'SELECT pg_create_logical_replication_slot(\'x\', \'test_decoding\')', 'SELECT * FROM pg_logical_slot_peek_changes(\'x\', NULL, NULL)', 'SELECT pg_export_snapshot(), pg_reload_conf()',
    'ALTER SYSTEM SET entrestate.key_file = \'/dev/null\'', 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = \'postgres\'');
  my $r = run_as($node, 'fixture_app', "BEGIN;\n" . join('', map { "SAVEPOINT s;\n\\echo $_\n$_ \\g /dev/null\nSELECT 'done: ' || \$x\$$_\$x\$;\nROLLBACK TO s;\n" } @tries));
  is(join("\n", $r->{out} =~ /^done: .*$/mg), '', 'files, libraries, schema and replication are out of an application\'s reach');
}

# ---------------------------------------------------------------- PostgREST

{
  $node->safe_psql('postgres', 'CREATE ROLE web_user IN ROLE entrestate_app; CREATE ROLE web_anon IN ROLE entrestate_anon; GRANT web_user, web_anon TO fixture_gateway');
  my $claims = sub { my ($tenant, $user, %more) = @_; my $more = join '', map { qq{, "$_": $more{$_}} } sort keys %more;
    return "SELECT set_config('request.jwt.claims', '{\"tenant_id\": \"$tenant\", \"sub\": \"$user\", \"exp\": " . ($more{exp} // time + 600) . "}', true) \\g /dev/null\n" };
  my $pre = "SELECT entrestate.login_request() \\g /dev/null\n";
  my $ask = "SELECT coalesce(entrestate.current_tenant()::text, 'none') || ' ' || (SELECT count(*) FROM entrestate.members);\n";
  my $as_user = "BEGIN;\nSET LOCAL ROLE web_user;\n";
  my ($claims_a, $claims_b) = ($claims->($a, $ids->{a}{owner}), $claims->($b, $ids->{b}{owner}));
  my $members = $node->safe_psql('l1', "SELECT count(*) FROM entrestate.members WHERE tenant_id = '$a'");

  my $r = run_as($node, 'fixture_gateway', "$as_user$claims_a$pre${ask}COMMIT;\nBEGIN;\nSET LOCAL ROLE web_user;\n${ask}COMMIT;\n$as_user$claims_b$pre${ask}COMMIT;\n");
  is($r->{out}, "$a $members\nnone 0\n$b $members", 'a request enters its tenant, and the next one begins with nothing') or diag $r->{err};
  my $refused = sub {
    my ($sql, $what, $expected) = @_;
    my $r = run_as($node, 'fixture_gateway', $sql);
    is(state_of($r->{err}) . " $r->{out}", $expected, $what) or diag $r->{err};
  };
  $refused->("$as_user$claims_a$pre${claims_b}SAVEPOINT s;\n${pre}ROLLBACK TO s;\n$ask", 'other claims in the same transaction are refused', "28000 $a $members");
  $refused->("$as_user$claims_a$pre$claims_a$pre$ask", 'the same claims again are not', " $a $members");
  $refused->("$as_user$claims_a${pre}SELECT entrestate.logout() \\g /dev/null\n${claims_b}SAVEPOINT s;\n${pre}ROLLBACK TO s;\n$ask", 'nor after logout()', '28000 none 0');
  $refused->("${as_user}SAVEPOINT s;\n$claims_a${pre}ROLLBACK TO s;\n${claims_b}SAVEPOINT s2;\n${pre}ROLLBACK TO s2;\n$ask", 'nor when the first call was rolled back', '28000 none 0');
  $refused->("${as_user}$pre${claims_b}SAVEPOINT s;\n${pre}ROLLBACK TO s;\n$ask", 'an anonymous request stays anonymous', '28000 none 0');
  $refused->("${as_user}$claims_a${pre}" . $claims->($a, $ids->{a}{viewer}) . "SAVEPOINT s;\n${pre}ROLLBACK TO s;\nSELECT entrestate.current_actor()", 'another user of the same tenant is other claims', "28000 $ids->{a}{owner}");
  $refused->("BEGIN;\nSET LOCAL ROLE web_anon;\n${pre}SELECT entrestate.current_tenant() IS NULL;\n", 'a request without claims', ' t');
  $refused->($as_user . $claims->($b, $ids->{a}{owner}) . $pre, 'claims of who is no member', '28000 ');
  $refused->($as_user . $claims->('00000000-0000-7000-8000-000000000000', $ids->{a}{owner}) . $pre, 'claims of a tenant that is not', '28000 ');
  $refused->($as_user . $claims->($a, $ids->{a}{owner}, exp => time - 3600) . $pre, 'claims that have expired', '28000 ');
  # what is malformed is refused, what lacks a claim is anonymous: no context either way
  is(run_as($node, 'fixture_gateway', "${as_user}SELECT set_config('request.jwt.claims', \$x\$$_\$x\$, true) \\g /dev/null\nSAVEPOINT s;\n${pre}ROLLBACK TO s;\n$ask"
      . "SELECT set_config('request.jwt.claims', \$x\$$_\$x\$, true) \\g /dev/null\n\\set ON_ERROR_ROLLBACK on\n$pre$ask")->{out}, "none 0\nnone 0", "claims that are none: $_")
    for '{', 'null', '[]', '{}', '{"role": "anon"}', "{\"tenant_id\": \"$a\"}", "{\"tenant_id\": 1, \"sub\": \"x\", \"exp\": 4000000000}",
      "{\"tenant_id\": \"x\", \"sub\": \"x\", \"exp\": 4000000000}", "{\"tenant_id\": \"$a\", \"sub\": \"\", \"exp\": 4000000000}", "{\"tenant_id\": \"$a\", \"sub\": \"$ids->{a}{owner}\"}";
  $refused->($as_user . "SELECT set_config('request.jwt.claims', '{\"role\": \"anon\"}', true) \\g /dev/null\n$pre${claims_b}SAVEPOINT s;\n${pre}ROLLBACK TO s;\n$ask",
    'claims of nobody decide, too', '28000 none 0');
  # by anybody else the same setting is words
  for my $role (qw(fixture_app fixture_anon bound_b))
  {
    is(state_of(run_as($node, $role, "BEGIN;\n$claims_b$pre")->{err}), '42501', "$role cannot take claims from a setting");
  }
  is(state_of(run_as($node, 'fixture_nobody', "BEGIN;\n$claims_b$pre")->{err}), '42501', 'nor can somebody who is nobody');
}
$node->stop;
done_testing();
