# verify() where a transaction that is rolled back will not do: without a schema, with settings of
# the server, after breaks made where event triggers do not fire, after a restore.
# What it reports of each law's break otherwise: test/pgtap/verify_*.sql.
use strict;
use warnings;
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('verify');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nlc_messages = 'C'\n");
$node->start;
my $version = $node->safe_psql('postgres', "SELECT current_setting('server_version_num')::integer / 10000");

# the findings of a new session, one a line
sub verify
{
  my ($database) = @_;
  return $node->safe_psql($database // 'app', "SELECT concat_ws('|', law, object, detail) FROM entrestate.verify() ORDER BY 1");
}

# ---------------------------------------------------------------- no schema yet

$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'SET client_min_messages = warning; CREATE EXTENSION entrestate');
is(verify(), 'schema|schema entrestate|there is none yet: SELECT entrestate.migrate();', 'without a schema verify() says what to do');
is($node->safe_psql('app', 'SET ROLE entrestate_auditor; SELECT law FROM entrestate.verify()'), 'schema', 'to an auditor, too');
$node->safe_psql('app', 'SELECT entrestate.migrate(); SELECT entrestate.upkeep()');
is(verify(), '', 'a new system is healthy');

# ---------------------------------------------------------------- settings of the server

my %setting = ('session_replication_role = replica' => 'L7|settings of the server|session_replication_role=replica takes guards away from everybody',
  'allow_system_table_mods = on' => 'L2|settings of the server|allow_system_table_mods=on takes guards away from everybody');
$setting{'event_triggers = off'} = 'L2|settings of the server|event_triggers=off takes guards away from everybody' if $version >= 17;
foreach my $line (sort keys %setting)
{
  my ($name) = split / /, $line;
  $node->safe_psql('postgres', "ALTER SYSTEM SET $line");
  $node->reload;
  $node->poll_query_until('app', "SELECT reset_val <> boot_val FROM pg_settings WHERE name = '$name'") or die "$line did not arrive";
  is(verify(), $setting{$line}, "$line is reported");
  $node->safe_psql('postgres', "ALTER SYSTEM RESET $name");
  $node->reload;
  $node->poll_query_until('app', "SELECT reset_val = boot_val FROM pg_settings WHERE name = '$name'") or die "$line did not go";
}
is(verify(), '', 'and no longer when it is gone');
is($node->safe_psql('app', 'SET session_replication_role = replica; SELECT * FROM entrestate.verify()'), '', 'a session\'s own setting is its own');

# ---------------------------------------------------------------- where event triggers do not fire

SKIP:
{
  skip 'event_triggers is not a setting of this version', 2 if $version < 17;
  $node->safe_psql('app', 'SET event_triggers = off; DROP TRIGGER guard_append_only ON entrestate.audit_log');
  is(verify(), 'L2|table audit_log|guard guard_append_only is missing', 'what was done with event_triggers = off');
  $node->safe_psql('app', <<'SQL');
SET event_triggers = off;
CREATE TRIGGER guard_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entrestate.audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION entrestate.guard_append_only();
ALTER TABLE entrestate.audit_log ENABLE ALWAYS TRIGGER guard_append_only;
SQL
  is(verify(), '', 'is healthy again when it was mended');
}

# Event triggers do not fire in single-user mode.
$node->stop;
my $sql = "ALTER TABLE entrestate.sender_events DISABLE TRIGGER guard_append_only\n"
  . "DROP POLICY tenant_isolation ON entrestate.leads\n"
  . "CREATE OR REPLACE FUNCTION entrestate.guard_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'\n";
my ($out, $err) = ('', '');
IPC::Run::run([ 'postgres', '--single', '-j', '-D', $node->data_dir, 'app' ], '<', \($sql =~ s/\n/;\n\n/gr), '>', \$out, '2>', \$err)
  or die "single-user mode: $err";
$node->start;
is(verify(), join("\n",
  'L1|function entrestate.guard_append_only()|is not the one that was shipped',
  'L1|table leads|policy tenant_isolation is missing',
  'L2|table sender_events|guard guard_append_only is disabled'), 'what was done in single-user mode');

# ---------------------------------------------------------------- healthy twice, and restored by another superuser

$node->safe_psql('postgres', 'DROP DATABASE app WITH (FORCE)');
foreach my $database ('app', 'second')
{
  $node->safe_psql('postgres', "CREATE DATABASE $database");
  $node->safe_psql($database, 'SET client_min_messages = warning; CREATE EXTENSION entrestate; SELECT entrestate.migrate(); SELECT entrestate.upkeep()');
}
is(verify($_), '', "database $_ of the cluster is healthy") foreach ('app', 'second');

$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('app'), '-f', "$FindBin::Bin/../pgtap/setup.sql" ], 'put to use');
is(verify(), '', 'in use it is healthy');
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('app') ], 'dumped');
$node->safe_psql('postgres', 'CREATE ROLE boss SUPERUSER LOGIN; CREATE DATABASE restored OWNER boss');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored') . ' user=boss', $dump ], 'restored by another superuser');
is(verify('restored'), '', 'what was restored is healthy');
is($node->safe_psql('restored', 'SELECT count(*) > 0 FROM entrestate.sender_events'), 't', 'and not empty');

$node->stop;
done_testing();
