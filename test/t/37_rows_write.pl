# A batch changes its runs where it read them (src/core/rows_write.c), since whoever has a lead has its runs. What if somebody
# does not keep to that? A superuser does here what our guards refuse, between the read and the write: the batch fails
# whole and is decided again, and the server lives.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use L1 ();
use S3;

my $node = s3_node('rows_write');
s3_database($node, 'moved');
s3_tenant($node, 'moved', 'a', 4);
$node->safe_psql('moved', <<'SQL');
SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' \gexec
ALTER TABLE entrestate.sender_runs DISABLE TRIGGER guard_system_only;
-- a batch that is told to waits before it writes runs
CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('public.held', true) = 'yes' THEN PERFORM pg_advisory_xact_lock(7); END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER hold BEFORE UPDATE ON entrestate.sender_runs FOR EACH STATEMENT EXECUTE FUNCTION public.hold();
SQL
my $tenant = $node->safe_psql('moved', 'SELECT t FROM public.made');
my $written = "SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM (SELECT e::text FROM entrestate.sender_events e UNION ALL SELECT i::text FROM entrestate.sender_intents i UNION ALL SELECT d::text FROM entrestate.sender_due d) x";
my $before = $node->safe_psql('moved', $written);

# What a batch says when somebody does this to a run in the meantime, and ends with that once the batch waits for it.
sub meanwhile
{
  my ($does, $end) = @_;
  my ($batch, $other) = map { L1::Session->new($node->connstr('moved')) } 1 .. 2;
  $other->query("SET session_replication_role = replica; SELECT pg_advisory_lock(7)");
  $batch->query("SET entrestate.clock = '2026-01-05T10:00:00Z'; SET public.held = 'yes'");
  my $mark = $batch->send("SELECT entrestate.sender_process_tenant('$tenant', 100)");
  $node->poll_query_until('moved', "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") or die 'the batch does not wait';
  $other->query("BEGIN; $does; SELECT pg_advisory_unlock(7)");
  if ($end)
  {
    $node->poll_query_until('moved', "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted") or die 'the batch does not wait for the row';
  }
  $other->query($end || 'COMMIT');
  my $said = $batch->wait($mark);
  my ($error) = $batch->{err} =~ /ERROR:  (.*)/;
  $_->quit foreach $batch, $other;
  return $error || $said;
}

my $one = "WHERE lead_id = (SELECT min(lead_id::text)::uuid FROM entrestate.sender_runs)";
my $moved = 'XX000: a row of table "sender_runs" is not where it was read';
is(meanwhile("UPDATE entrestate.sender_runs SET deferrals = deferrals $one; COMMIT"), $moved, 'another version of a run that was read');
is($node->safe_psql('moved', $written), $before, 'nothing of the batch is written');
is(meanwhile("UPDATE entrestate.sender_runs SET deferrals = deferrals $one", 'COMMIT'), $moved, 'while the batch writes');
is($node->safe_psql('moved', $written), $before, 'nothing of the batch is written');
is(meanwhile("DELETE FROM entrestate.sender_runs $one", 'COMMIT'), $moved, 'a run that is gone');
is($node->safe_psql('moved', $written), $before, 'nothing of the batch is written');
is(meanwhile("UPDATE entrestate.sender_runs SET deferrals = deferrals $one", 'ROLLBACK'), 3, 'what was undone is nothing: the batch goes on');
is($node->safe_psql('moved', "SELECT string_agg(DISTINCT status || ' ' || cursor || ' ' || run_seq, ', ') FROM entrestate.sender_runs"), 'running 1 2', 'and all that it decided is written');

# Foreign keys know of what changes in their columns, and of nothing else; here the runs are of another transaction.
sub refused
{
  my ($does) = @_;
  my $at = $node->safe_psql('moved', "SELECT max(next_at) + interval '1 second' FROM entrestate.sender_runs");
  my ($rc, $out, $err) = $node->psql('moved', "BEGIN; $does; SET LOCAL entrestate.clock = '$at'; SELECT entrestate.sender_process_tenant('$tenant', 100); ROLLBACK");
  return $err =~ /ERROR:  (.*)/ ? $1 : $out;
}
my $change = 'CREATE FUNCTION public.change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.lead_id := gen_random_uuid(); RETURN NEW; END $$; CREATE TRIGGER z_last BEFORE UPDATE ON entrestate.sender_runs FOR EACH ROW EXECUTE FUNCTION public.change()';
my $cursors = 'CREATE TABLE public.cursors (cursor smallint PRIMARY KEY); INSERT INTO public.cursors VALUES (1); GRANT SELECT ON public.cursors TO PUBLIC; ALTER TABLE entrestate.sender_runs ADD CONSTRAINT odd FOREIGN KEY (cursor) REFERENCES public.cursors';
is(refused('SELECT 1'), "1\n3", 'the next step, as it is');
is(refused("$cursors; INSERT INTO public.cursors VALUES (2)"), 3, 'with a foreign key whose column is written');
is(refused($cursors), 'insert or update on table "sender_runs" violates foreign key constraint "odd"', 'that does not hold afterwards');
like(refused($change), qr/^insert or update on table "sender_runs" violates foreign key constraint/, 'a trigger before the row that breaks one');
is(refused("CREATE FUNCTION public.after() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'after \%', NEW.cursor; END \$\$; CREATE TRIGGER z_last AFTER UPDATE ON entrestate.sender_runs FOR EACH ROW EXECUTE FUNCTION public.after()"), 'after 2', 'another trigger after the row fires');

unlike(slurp_file($node->logfile), qr/terminated by signal|server process .* was terminated/, 'no session crashed');
done_testing();
