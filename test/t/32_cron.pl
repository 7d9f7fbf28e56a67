# schedule() and unschedule() with pg_cron in the same database and in another one, with and without
# background workers, and without pg_cron. Jobs really run once, on two clusters at the same time.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use S3;

# ---------------------------------------------------------------- without pg_cron
my $bare = s3_node('bare');
s3_database($bare, 'app');
foreach my $what ('schedule', 'unschedule')
{
  my ($code, $out, $err) = $bare->psql('app', "\\set VERBOSITY verbose\nSELECT entrestate.$what()");
  like($err, qr/ERROR:  F0000: pg_cron is not loaded in this cluster/, "$what() without pg_cron");
  like($err, qr/DETAIL:  It is not in shared_preload_libraries\.\nHINT:  Install the package .*CREATE EXTENSION pg_cron\. Without pg_cron, run the commands of SELECT /, 'says what to do');
}
my $names = join "\n", map { "entrestate:app:$_" } qw(sandbox_report scores_decay sender sender_upkeep tick upkeep);
is($bare->safe_psql('app', 'SELECT job FROM entrestate.schedule_jobs() ORDER BY job COLLATE "C"'), $names, 'the jobs are known without it');
$bare->stop;

my $sharedir = `pg_config --sharedir`;
chomp $sharedir;
if (!-f "$sharedir/extension/pg_cron.control")
{
  SKIP: { skip 'pg_cron is not installed: apt-get install postgresql-<version>-cron', 1; }
  done_testing();
  exit;
}
my ($control) = grep { /default_version/ } split /\n/, slurp_file("$sharedir/extension/pg_cron.control");
my ($version) = $control =~ /'([^']+)'/;
note("pg_cron $version");

# ---------------------------------------------------------------- in the same database, by background workers
my $same = s3_node('same', "shared_preload_libraries = 'pg_cron'", "cron.database_name = 'app'", 'cron.use_background_workers = on', 'max_worker_processes = 20');
s3_database($same, 'app');
my ($code, $out, $err) = $same->psql('app', "\\set VERBOSITY verbose\nSELECT entrestate.schedule()");
like($err, qr/ERROR:  F0000: pg_cron is loaded but not created in this database.*HINT:  CREATE EXTENSION pg_cron;/s, 'loaded, but not created here');
$same->safe_psql('app', 'CREATE EXTENSION pg_cron');
is($same->safe_psql('app', 'SELECT x FROM entrestate.schedule() x ORDER BY x COLLATE "C"'), $names, 'schedule()');
my $jobs = q{SELECT jobname, schedule, command, database, username, active FROM cron.job WHERE jobname LIKE 'entrestate:%' ORDER BY jobname COLLATE "C"};
my $want = join "\n", map { "entrestate:app:$_|app|entrestate_worker|t" } 'sandbox_report|* * * * *|CALL entrestate.sandbox_report()', 'scores_decay|7 * * * *|CALL entrestate.scores_decay()',
  'sender|* * * * *|CALL entrestate.sender_process()', 'sender_upkeep|*/5 * * * *|CALL entrestate.sender_upkeep()', 'tick|* * * * *|SELECT entrestate.tick()', 'upkeep|17 * * * *|SELECT entrestate.upkeep()';
is($same->safe_psql('app', $jobs), $want, 'the jobs, as the worker, in this database');
is($same->safe_psql('app', 'SELECT x FROM entrestate.schedule() x ORDER BY x COLLATE "C"'), $names, 'again');
is($same->safe_psql('app', $jobs), $want, 'is the same');
$same->safe_psql('app', q{SELECT cron.schedule('mine', '0 0 1 1 *', 'SELECT 1')});

# who is no superuser cannot
$same->safe_psql('postgres', 'CREATE ROLE web LOGIN IN ROLE entrestate_app; CREATE ROLE job LOGIN IN ROLE entrestate_worker');
foreach my $role ('web', 'job')
{
  ($code, $out, $err) = $same->psql('app', 'SELECT entrestate.schedule()', connstr => $same->connstr('app') . " user=$role");
  like($err, qr/permission denied for function schedule/, "$role cannot");
}

# ---------------------------------------------------------------- in another database, by libpq
my $other = s3_node('other', "shared_preload_libraries = 'pg_cron'", 'cron.use_background_workers = off', "timezone = 'UTC'");
$other->append_conf('postgresql.conf', "cron.host = '" . $other->host . "'\n");
$other->restart;
$other->safe_psql('postgres', 'CREATE EXTENSION pg_cron');
s3_database($other, 'app');
foreach my $what ('schedule', 'unschedule')
{
  ($code, $out, $err) = $other->psql('app', "\\set VERBOSITY verbose\nSELECT entrestate.$what()");
  like($err, qr/ERROR:  F0000: pg_cron lives in another database of this cluster\nDETAIL:  It lives in "postgres"\.\nHINT:  Run the statements of SELECT \* FROM entrestate\.schedule_statements\(\) in "postgres"\./,
    "$what() says where pg_cron is");
}
my $statements = $other->safe_psql('app', 'SELECT * FROM entrestate.schedule_statements()');
$other->safe_psql('postgres', "$_;") foreach split /\n/, $statements;
is($other->safe_psql('postgres', $jobs), $want, 'the statements make the same jobs from there');

# ---------------------------------------------------------------- both run them
s3_tenant($_, 'app', 'run', 3) foreach $same, $other;
# the fixture's clock is in the past, so that what it made is due; a minute's jobs may have run before it
my $made = $same->safe_psql('app', 'SELECT clock_timestamp()');
my $ran = qq{SELECT count(DISTINCT j.jobname) = 2 FROM cron.job j JOIN cron.job_run_details d USING (jobid)
  WHERE j.jobname ~ '^entrestate:app:(sender|tick)\$' AND d.status = 'succeeded' AND d.start_time > '$made'};
foreach my $run ([ $same, 'app', 'a background worker' ], [ $other, 'postgres', 'a connection from another database' ])
{
  my ($node, $database, $how) = @$run;
  # pg_cron begins a minute's jobs at its full minute
  ok($node->poll_query_until($database, $ran), "$how ran the jobs")
    or diag($node->safe_psql($database, 'SELECT command, status, return_message FROM cron.job_run_details'));
  is($node->safe_psql($database, q{SELECT count(*) FROM cron.job_run_details WHERE status = 'failed'}), '0', 'and none failed');
  # CALL ends after its commits: what it decided is there
  is($node->safe_psql('app', 'SELECT count(*) FROM entrestate.sender_events WHERE type IN (10, 11)'), '3', 'what was due is decided');
  cmp_ok($node->safe_psql('app', 'SELECT count(*) FROM entrestate.ticks'), '>=', 1, 'and there is a tick');
  is($node->safe_psql('app', q{SELECT count(*) FROM entrestate.verify() WHERE object !~ '^role '}), '0', 'verify() finds nothing');
}

is($same->safe_psql('app', 'SELECT x FROM entrestate.unschedule() x ORDER BY x COLLATE "C"'), $names, 'unschedule()');
is($same->safe_psql('app', 'SELECT jobname FROM cron.job'), 'mine', 'leaves the jobs of others');
is($same->safe_psql('app', 'SELECT count(*) FROM entrestate.unschedule()'), '0', 'again: none is left');
$_->stop foreach $same, $other;
done_testing();
