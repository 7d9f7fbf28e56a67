# Imports whole: the real leads twice, two sessions with the same people at once, many leads of many tenants.
use strict;
use warnings;
use Time::HiRes qw(time);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use S3;

my $node = s3_node('import', 'autovacuum = off', 'deadlock_timeout = 100ms', 'log_lock_waits = on');
my $clock = "SET entrestate.clock = '2026-01-05T10:00:00Z';";

sub tenant
{
  my ($db, $name) = @_;
  return $node->safe_psql($db, "$clock SELECT entrestate.tenant_create('$name', 'boss', 'sandbox', 'America/Sao_Paulo', 'BRL')");
}
# An import in a transaction of its own; returns "imported n, duplicate n, refused n".
my $brief = "SELECT string_agg(o || ' ' || (SELECT count(*) FROM r WHERE outcome = o), ', ' ORDER BY n) FROM unnest('{imported,duplicate,refused}'::text[]) WITH ORDINALITY AS u(o, n)";
sub import
{
  my ($db, $t, $call) = @_;
  return $node->safe_psql($db, "$clock BEGIN; SELECT entrestate.login('$t', 'boss') \\g /dev/null\nWITH r AS (SELECT * FROM entrestate.$call) $brief;\nCOMMIT;");
}
# What a tenant has, but for the record of its imports.
sub digest
{
  my ($db, $t) = @_;
  return join "\n", map {
    $node->safe_psql($db, "SELECT '$_', count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM entrestate.$_ x WHERE tenant_id = '$t'"
      . ($_ eq 'activity_events' ? " AND type <> 'leads.imported'" : ''))
  } qw(leads lead_contacts lead_attributions unresolved_attributions lead_texts sender_runs activity_events);
}
# Imports whose counts are not those of their rows, or of what is stored.
sub uneven
{
  my ($db) = @_;
  return $node->safe_psql($db, q{SELECT i.import_id, i.row_count, i.imported, i.duplicate, i.refused, l.n FROM entrestate.lead_imports i
    LEFT JOIN (SELECT tenant_id, payload ->> 'importId' AS import_id, count(*) AS n FROM entrestate.activity_events WHERE type = 'lead.created' GROUP BY 1, 2) l
      ON l.tenant_id = i.tenant_id AND l.import_id = i.import_id::text
    WHERE i.row_count <> i.imported + i.duplicate + i.refused OR i.imported <> coalesce(l.n, 0)
      OR i.refused <> (SELECT coalesce(sum(v::integer), 0) FROM jsonb_each_text(i.reasons) AS e(k, v))});
}

# ---------------------------------------------------------------- the real leads, twice

SKIP:
{
  my $data = ($ENV{ENTRESTATE_TEST_DATA} // '') . '/marketing_qualified_leads.csv';
  skip "there is no $data: ENTRESTATE_TEST_DATA names the folder with it", 8 unless -r $data;
  s3_database($node, 'real');
  my $t = tenant('real', 'Real');
  # the file's columns as the demo has them: an id, the day, the landing page, the origin
  my $columns = '{"mql_id": "idempotency_key", "first_contact_date": "arrived_at", "landing_page_id": "attribution.landing_page", "origin": "attribution.utm.utm_source"}';
  my @parts = split /\n/, slurp_file($data);
  my $header = shift @parts;
  my $rows = @parts;
  cmp_ok($rows, '>', 1000, "$rows real leads");
  # in the order of the file; the campaign is bound to the most usual landing page
  my %pages;
  $pages{ (split /,/)[2] }++ foreach @parts;
  my ($page) = sort { $pages{$b} <=> $pages{$a} } keys %pages;
  $node->safe_psql('real', "$clock BEGIN; SELECT entrestate.login('$t', 'boss'); SELECT entrestate.campaign_create('c', bindings => '{\"landing_pages\": [\"$page\"]}'); COMMIT;");
  my $call = "lead_import_csv(pg_read_binary_file('$data'), '$columns')";
  is(import('real', $t, $call), "imported $rows, duplicate 0, refused 0", 'all are imported');
  is($node->safe_psql('real', 'SELECT count(*), count(DISTINCT idempotency_key), count(campaign_id) FROM entrestate.leads'), "$rows|$rows|$pages{$page}", 'each once, and those of the landing page are the campaign\'s');
  is($node->safe_psql('real', 'SELECT count(DISTINCT lead_id) FROM entrestate.unresolved_attributions'), $rows - $pages{$page}, 'the others are listed');
  my $before = digest('real', $t);
  is(import('real', $t, $call), "imported 0, duplicate $rows, refused 0", 'again: all are duplicates');
  is(digest('real', $t), $before, 'and nothing has changed');
  is(uneven('real'), '', 'the counts add up');
  is($node->safe_psql('real', 'SELECT * FROM entrestate.verify()'), '', 'verify() finds nothing');
}

# ---------------------------------------------------------------- two sessions, the same people

s3_database($node, 'twice');
my $t = tenant('twice', 'Both');
my $n = 2000;
# the second file has the first one's people in the opposite order, each with a number, and some of its own
my @files = (
  "(SELECT jsonb_agg(jsonb_build_object('full_name', 'One ' || g, 'email', 'p' || g || '\@example.com') ORDER BY g) FROM generate_series(1, $n) g)",
  "(SELECT jsonb_agg(jsonb_build_object('full_name', 'Two ' || g, 'email', 'P' || g || '\@example.com', 'phone', '+1416200' || 1000 + g) ORDER BY g DESC) FROM generate_series(1, $n + 100) g)");
for my $round (1 .. 3)
{
  my (@in, @out, @err, @run);
  for my $i (0, 1)
  {
    ($in[$i], $out[$i], $err[$i]) = ("$clock BEGIN; SELECT entrestate.login('$t', 'boss') \\g /dev/null\nWITH r AS (SELECT * FROM entrestate.lead_import($files[$i])) $brief;\nCOMMIT;\n", '', '');
    $run[$i] = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('twice') ], '<', \$in[$i], '>', \$out[$i], '2>', \$err[$i]);
  }
  my @ok = map { $_->finish } @run;
  is("@ok|@err", '1 1| ', "round $round: neither failed") or diag(join "\n", @err);
  chomp @out;
  my $m = $n + 100;
  if ($round == 1)
  {
    ok("@out" eq "imported $n, duplicate 0, refused 0 imported 100, duplicate $n, refused 0" || "@out" eq "imported 0, duplicate $n, refused 0 imported $m, duplicate 0, refused 0",
      'whoever is first makes the leads, the other one finds them') or diag("@out");
  }
  else
  {
    is("@out", "imported 0, duplicate $n, refused 0 imported 0, duplicate $m, refused 0", 'now both find them');
  }
  is($node->safe_psql('twice', "SELECT count(*), count(DISTINCT address_norm), count(DISTINCT lead_id), count(*) FILTER (WHERE kind = 'phone') FROM entrestate.lead_contacts"),
    2 * $m . "|" . 2 * $m . "|$m|$m", 'one lead for each address, and its number');
}
# a form of a person who is in the file, and a file of a person who is in a form
{
  my (@out, @err, @run, @in);
  my $many = "SELECT count(entrestate.lead_create('F', 'f' || g || '\@example.com', '+1416300' || 1000 + g, source => 'form')) FROM generate_series(1, 300) g";
  my $file = "WITH r AS (SELECT * FROM entrestate.lead_import((SELECT jsonb_agg(jsonb_build_object('email', 'f' || g || '\@example.com', 'phone', '+1416300' || 1000 + g) ORDER BY g DESC) FROM generate_series(1, 300) g))) $brief";
  for my $i (0, 1)
  {
    ($in[$i], $out[$i], $err[$i]) = ("$clock BEGIN; SELECT entrestate.login('$t', 'boss') \\g /dev/null\n" . ($many, $file)[$i] . ";\nCOMMIT;\n", '', '');
    $run[$i] = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('twice') ], '<', \$in[$i], '>', \$out[$i], '2>', \$err[$i]);
  }
  my @ok = map { $_->finish } @run;
  is("@ok|@err", '1 1| ', 'forms and an import of the same people: neither failed') or diag(join "\n", @err);
  is($node->safe_psql('twice', "SELECT count(DISTINCT lead_id), count(*) FROM entrestate.lead_contacts WHERE address_norm ~ '^f[0-9]+\@|^.1416300'"), '300|600', 'one lead each');
}
is(uneven('twice'), '', 'the counts add up');
is($node->safe_psql('twice', 'SELECT * FROM entrestate.verify()'), '', 'verify() finds nothing');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'nobody waited in a circle');

# ---------------------------------------------------------------- 5,000 leads of 10 tenants, small of make bench's 200,000

s3_database($node, 'many');
my @tenants = map { tenant('many', "Many $_") } 1 .. 10;
# a tenth comes twice in the file, one in fifty has no address that can be one
my $rows = "(SELECT jsonb_agg(jsonb_build_object('full_name', 'Lead ' || g, 'email', CASE WHEN g % 50 = 0 THEN 'none' ELSE 'lead' || g - CASE WHEN g % 10 = 1 THEN 2 ELSE 0 END || '\@example.com' END, 'budget', g)) FROM generate_series(1, 250) g)";
my $lines = "convert_to((SELECT E'name,e-mail,budget' || string_agg(E'\\nLead ' || g || ',' || CASE WHEN g % 50 = 0 THEN 'none' ELSE 'line' || g - CASE WHEN g % 10 = 1 THEN 2 ELSE 0 END || '\@example.com' END || ',' || g, '' ORDER BY g) FROM generate_series(1, 250) g), 'UTF8')";
my $from = time;
my %result;
$result{ import('many', $_, "lead_import($rows)") }++, $result{ import('many', $_, "lead_import_csv($lines)") }++ foreach @tenants;
note sprintf '%.0f leads a second, each import in a session of its own', 5000 / (time - $from);
is(join(' / ', map { "$result{$_} x $_" } sort keys %result), '20 x imported 221, duplicate 24, refused 5', 'each import has the same result');
is($node->safe_psql('many', 'SELECT count(*), count(DISTINCT tenant_id), sum(row_count), sum(imported), sum(duplicate), sum(refused) FROM entrestate.lead_imports'), '20|10|5000|4420|480|100', 'and the counts add up');
is(uneven('many'), '', 'with what is stored');
is($node->safe_psql('many', 'SELECT count(*) FROM entrestate.leads'), '4420', 'as many leads');
is($node->safe_psql('many', 'SELECT * FROM entrestate.verify()'), '', 'verify() finds nothing');
$node->stop;
done_testing();
