# migrate(): twice is once, two at once are one, superusers only, the chain of schema scripts, and
# what entry points say while code and schema differ.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use L2;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = l2_node('migrate');
my $dump = sub { my ($out, $err); $node->run_log([ 'pg_dump', '--schema-only', $node->connstr($_[0]) ], '>', \$out, '2>', \$err) or die $err;
  return join "\n", grep { !/^\\(un)?restrict / } split /\n/, $out; };

$node->safe_psql('postgres', 'CREATE DATABASE one');
$node->safe_psql('one', 'CREATE EXTENSION entrestate');
l2_fails($node, 'one', $_, 'ZE004', qr/HINT:  .*SELECT entrestate\.migrate\(\)/, "without a schema: $_")
  for 'SELECT entrestate.upkeep()', 'SELECT entrestate.tick()', 'CALL entrestate.sender_process()';
is($node->safe_psql('one', 'SELECT law FROM entrestate.verify()'), 'schema', 'verify() says that there is none');
$node->safe_psql('one', 'CREATE ROLE m_owner LOGIN; CREATE ROLE m_app LOGIN IN ROLE entrestate_app, entrestate_worker, entrestate_auditor; GRANT EXECUTE ON FUNCTION entrestate.migrate() TO m_owner; GRANT USAGE ON SCHEMA entrestate TO m_owner;');
l2_fails($node, 'one', 'SELECT entrestate.migrate()', '42501', qr/permission denied/, 'not granted', role => 'm_app');
l2_fails($node, 'one', 'SELECT entrestate.migrate()', '42501', qr/only a superuser/, 'granted, but no superuser', role => 'm_owner');
$node->safe_psql('one', 'REVOKE ALL ON FUNCTION entrestate.migrate() FROM m_owner; REVOKE ALL ON SCHEMA entrestate FROM m_owner; DROP ROLE m_app');

# two at once
my ($s1, $s2) = map { $node->background_psql('one') } 1 .. 2;
$s1->query_safe('BEGIN;');
is($s1->query_safe('SELECT entrestate.migrate() = entrestate.code_version();'), 't', 'migrate()');
my $pid = $s2->query_safe('SELECT pg_backend_pid();');
$s2->query_until(qr/begun/, "\\echo begun\nSELECT entrestate.migrate();\n");
ok($node->poll_query_until('one', "SELECT count(*) = 1 FROM pg_locks WHERE pid = $pid AND locktype = 'advisory' AND NOT granted"), 'a second one waits');
$s1->query_safe('COMMIT;');
is($s2->query_safe('SELECT count(*) FROM entrestate.schema_version;') =~ /1$/ ? 1 : 0, 1, 'and finds it done');
$_->quit for $s1, $s2;
my $schema = $dump->('one');
is($node->safe_psql('one', 'SELECT entrestate.migrate() = entrestate.code_version()'), 't', 'migrate() again');
is($dump->('one'), $schema, '... changes nothing');
is($node->safe_psql('one', 'SELECT count(*) FROM entrestate.schema_version'), '1', '... and records nothing');
# rolled back it leaves nothing
$node->safe_psql('postgres', 'CREATE DATABASE two');
$node->safe_psql('two', 'CREATE EXTENSION entrestate; BEGIN; SELECT entrestate.migrate(); ROLLBACK;');
# a row type of the functions' own is code
is($node->safe_psql('two', "SELECT count(*) FROM pg_class WHERE relnamespace = 'entrestate'::regnamespace AND relkind <> 'c'"), '0', 'rolled back, nothing is there');
is($node->safe_psql('two', 'BEGIN; SELECT entrestate.migrate(); ROLLBACK; SELECT entrestate.migrate() IS NOT NULL;') =~ /t$/ ? 1 : 0, 1, 'and it can be done after all');
l2_guards($node, 'two', 'verify() finds nothing');
# the extension does not own the data
l2_fails($node, 'two', 'DROP EXTENSION entrestate', '2BP01', undef, 'DROP EXTENSION refuses');
is($node->safe_psql('two', "SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = 'pg_class'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'entrestate')"), '0', 'no table is a member');

# A schema of a version that never was, and scripts that lead from it to the code's.
my $code = $node->safe_psql('one', 'SELECT entrestate.code_version()');
chomp(my $dir = `pg_config --sharedir`);
$dir .= '/extension';
my @files;
sub script
{
  my ($name, $sql) = @_;
  my $file = "$dir/entrestate.schema--$name.sql";
  die "$file exists" if -e $file;
  push @files, $file;
  PostgreSQL::Test::Utils::append_to_file($file, $sql);
}
END { unlink @files; }
sub pretend
{
  my ($version) = @_;
  $node->safe_psql('one', "BEGIN; ALTER EVENT TRIGGER entrestate_ddl_end DISABLE;
    ALTER TABLE entrestate.schema_version DISABLE TRIGGER guard_system_only;
    INSERT INTO entrestate.schema_version (version) VALUES ('$version');
    ALTER TABLE entrestate.schema_version ENABLE ALWAYS TRIGGER guard_system_only;
    ALTER EVENT TRIGGER entrestate_ddl_end ENABLE ALWAYS; COMMIT;");
}
pretend('0.0.0-test1');
l2_fails($node, 'one', $_, 'ZE004', qr/the schema has version 0\.0\.0-test1, the code has \Q$code\E.*HINT:  As a superuser: ALTER EXTENSION entrestate UPDATE; SELECT entrestate\.migrate\(\);/s, "another version: $_")
  for 'SELECT entrestate.upkeep()', 'SELECT entrestate.tick()', 'CALL entrestate.sender_process()';
like($node->safe_psql('one', 'SELECT law, detail FROM entrestate.verify()'), qr/^schema\|.*0\.0\.0-test1/m, 'verify() says so, too');
l2_fails($node, 'one', 'SELECT entrestate.migrate()', 'ZE004', qr/no schema script leads from version 0\.0\.0-test1/, 'no script');

script('0.0.0-test1--0.0.0-test2', "CREATE TABLE entrestate.l2_step (tenant_id uuid NOT NULL, recorded_at timestamptz NOT NULL, id uuid NOT NULL, n integer,
  epoch smallint NOT NULL DEFAULT entrestate.event_epoch(), txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (tenant_id, recorded_at, id)) PARTITION BY RANGE (recorded_at);
CREATE INDEX l2_step_consumer ON entrestate.l2_step (epoch, txid);
SELECT entrestate.protect('l2_step', 'events', by_month => true);\n");
# the door is open for a script: it may do what nobody else may
script("0.0.0-test2--$code", "ALTER TABLE entrestate.l2_step ALTER COLUMN n TYPE bigint;
DO \$\$ BEGIN UPDATE entrestate.protected_tables SET definition = entrestate.guard_definition('entrestate.l2_step'::regclass) WHERE table_name = 'l2_step'; EXCEPTION WHEN undefined_column THEN NULL; END \$\$;\nSELECT 1/n FROM (VALUES (0)) v(n);\n");
l2_fails($node, 'one', 'SELECT entrestate.migrate()', '22012', undef, 'a script that fails');
is($node->safe_psql('one', "SELECT count(*) FROM pg_class WHERE relname LIKE 'l2_step%'"), '0', '... undoes the ones before it');
is($node->safe_psql('one', 'SELECT version FROM entrestate.schema_version ORDER BY schema_version_id DESC LIMIT 1'), '0.0.0-test1', '... and the version stays');
{
  my $last = "$dir/entrestate.schema--0.0.0-test2--$code.sql";
  my $sql = PostgreSQL::Test::Utils::slurp_file($last);
  $sql =~ s{SELECT 1/n.*}{};
  unlink $last;
  PostgreSQL::Test::Utils::append_to_file($last, $sql);
}
script('0.0.0-test1--0.0.0-test9', "SELECT 1;\n");
l2_fails($node, 'one', 'SELECT entrestate.migrate()', 'F0000', qr/two schema scripts/, 'two ways on');
unlink pop @files;
is($node->safe_psql('one', 'SELECT entrestate.migrate()'), $code, 'the chain of scripts is run');
is($node->safe_psql('one', "SELECT string_agg(concat(migrated_from, '>', version), ' ' ORDER BY schema_version_id) FROM entrestate.schema_version"),
  ">$code >0.0.0-test1 0.0.0-test1>0.0.0-test2 0.0.0-test2>$code", '... step by step');
is($node->safe_psql('one', 'SELECT entrestate.migrate()'), $code, 'and again is nothing');
is($node->safe_psql('one', 'SELECT count(*) FROM entrestate.schema_version'), '4', '... not even recorded');
cmp_ok($node->safe_psql('one', "SELECT entrestate.upkeep()"), '>', 4, 'the new event table gets its months');
l2_guards($node, 'one', 'with all guards');
l2_fails($node, 'one', 'DELETE FROM entrestate.l2_step', 'ZE001', qr/append-only/, 'the new event table is append-only');
l2_fails($node, 'one', 'ALTER TABLE entrestate.l2_step ALTER COLUMN n TYPE integer', 'ZE003', undef, 'and the door is shut again');
done_testing();
