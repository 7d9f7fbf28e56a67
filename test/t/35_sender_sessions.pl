# L3: 1, 2 and 8 sessions over the same runs give the same events where no shared budget binds; where one does, as many
# sends, never more than it allows, and what a lead is written in the order in which it was due.
use strict;
use warnings;
use List::Util qw(shuffle);
use PostgreSQL::Test::Utils;
use Test::More;
use L1 ();
use S3;

my $seed = $ENV{ENTRESTATE_SEED} // int(rand(2**31));
srand($seed);
diag("ENTRESTATE_SEED=$seed");
my $node = s3_node('sessions', 'autovacuum = off', 'max_connections = 30');

# Sessions at a database that do the same at once.
sub sessions
{
  my ($database, $n) = @_;
  return map { L1::Session->new($node->connstr($database)) } 1 .. $n;
}

sub all_do
{
  my ($sessions, @sql) = @_;
  my @marks = map { $sessions->[$_]->send($sql[$_ % @sql]) } 0 .. $#$sessions;
  foreach my $i (0 .. $#$sessions)
  {
    $sessions->[$i]->wait($marks[$i]);
    is($sessions->[$i]{err}, '', 'without an error') if $sessions->[$i]{err} ne '';
  }
  return;
}

# ----- nothing is shared -----

s3_world($node, 'one', 6, 40);
my %sessions = (one => 1, two => 2, eight => 8);
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE one") for qw(two eight);
foreach my $database (qw(one two eight))
{
  my @at = sessions($database, $sessions{$database});
  foreach my $n (0 .. $#s3_instants)
  {
    $at[0]->query("SET entrestate.clock = '$s3_instants[$n]'; CALL public.happen($n)");
    is($at[0]{err}, '', "what happens before instant $n") if $at[0]{err} ne '';
    # the size of batches does not matter either, nor who comes first
    all_do([ shuffle @at ], map { "SET entrestate.clock = '$s3_instants[$n]';\nCALL sandbox_report($_)" =~ s/CALL /CALL entrestate./r } $database eq 'one' ? 1000 : (7, 3));
    all_do([ shuffle @at ], map { "CALL entrestate.sender_process($_)" } $database eq 'one' ? 1000 : (9, 4));
  }
  $_->quit for @at;
}
my $want = s3_world_story($node, 'one');
foreach my $database (qw(two eight))
{
  my $got = s3_world_story($node, $database);
  ok($got eq $want, "$database sessions and small batches give the same events") or s3_differ($got, $want);
  is($node->safe_psql($database, q{SELECT law, object, detail FROM entrestate.verify() WHERE object !~ '^role '}), '', 'verify() finds nothing');
}
# it is a world in which all of it happens
is($node->safe_psql('one', <<'SQL'), '', 'every kind of event is in it');
SELECT string_agg(n, ', ') FROM unnest('{sender.run.started,sender.run.done,sender.step.sent,sender.step.skipped,sender.step.failed,sender.step.simulated,sender.step.deferred,sender.step.unknown,
  sender.suppressed_hot,sender.suppressed_handoff,sender.suppressed_opt_out,sender.suppressed_replied,sender.suppressed_closed,sender.suppressed_stopped,sender.suppressed_merged,sender.suppressed_goal}'::text[]) n
WHERE NOT EXISTS (SELECT FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type WHERE y.name = btrim(n, E' \n'))
SQL
is($node->safe_psql('one', <<'SQL'), '', 'and every reason that belongs to one lead');
SELECT string_agg(n, ', ') FROM unnest('{guard_false,missing_email,missing_phone,invalid_email,no_consent,address_suppressed,missing_field,rising_intent,quiet_hours,frequency_capped,dry_run}'::text[]) n
WHERE NOT EXISTS (SELECT FROM entrestate.sender_events e JOIN entrestate.sender_reasons() x ON x.code = e.reason WHERE x.name = n)
SQL
cmp_ok($node->safe_psql('eight', q{SELECT count(DISTINCT backend) FROM (SELECT id / 100 AS backend FROM entrestate.sender_events) x}), '>', 8, 'several sessions wrote it');

# ----- budgets that bind -----

# Each lead is in two campaigns and becomes due at a time of its own, every fourth has no address and every tenth message
# is refused: what does not use up a budget leaves it to the next.
s3_database($node, 'limit_one');
$node->safe_psql('limit_one', <<'SQL');
CREATE TABLE public.budget (name text, t uuid, kind text, key text, most integer[]);
CREATE FUNCTION public.tenant(name text, leads integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  t uuid := entrestate.tenant_create(name, 'boss', 'sandbox', 'UTC');
  m uuid;
  c uuid[];
  l uuid;
BEGIN
  PERFORM entrestate.login(t, 'boss'), entrestate.tenant_update(dry_run => false), entrestate.channel_set('email', true), entrestate.sandbox_set(1, '{"refusal": 0.1, "unknown": 0.1}');
  m := entrestate.template_create('m', 'email', 'b', 's');
  PERFORM entrestate.template_status_set(m, 1, 'approved');
  FOR k IN 1 .. 2 LOOP
    c[k] := entrestate.campaign_create('c' || k);
    PERFORM entrestate.sequence_create(c[k], jsonb_build_array(jsonb_build_object('channel', 'email', 'template', m, 'delay', '0'), jsonb_build_object('channel', 'email', 'template', m, 'delay', '2 minutes')));
    PERFORM entrestate.sequence_publish(c[k], 1), entrestate.campaign_status_set(c[k], 'active'), entrestate.campaign_update(c[k], sender_enabled => true);
  END LOOP;
  CASE name
    WHEN 'day' THEN PERFORM entrestate.channel_limits_set('email', daily_limit => 17);
    WHEN 'minute' THEN PERFORM entrestate.channel_limits_set('email', per_minute => 7);
    WHEN 'warm-up' THEN PERFORM entrestate.channel_limits_set('email', warmup => '{3,11,60}', warmup_from => '2026-01-05');
    WHEN 'campaign' THEN PERFORM entrestate.campaign_rehearse(c[1]), entrestate.campaign_go_live(c[1]), entrestate.campaign_status_set(c[1], 'paused'), entrestate.campaign_resume(c[1], per_minute => 4);
  END CASE;
  INSERT INTO public.budget VALUES (name, t, CASE name WHEN 'minute' THEN 'minute' WHEN 'campaign' THEN 'minute' ELSE 'day' END, CASE name WHEN 'campaign' THEN c[1]::text END,
    CASE name WHEN 'day' THEN '{17,17,17}' WHEN 'minute' THEN '{7}' WHEN 'warm-up' THEN '{3,11,60}' ELSE '{4}' END::integer[]);
  FOR i IN 1 .. leads LOOP
    PERFORM set_config('entrestate.clock', to_char(timestamptz '2026-01-05T08:00:00Z' + (i * 37 % leads) * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SSOF'), false);
    l := entrestate.lead_create('Person ' || i, CASE WHEN i % 4 > 0 THEN format('p%s@example.com', i) ELSE NULL END, CASE WHEN i % 4 = 0 THEN '+1416555' || to_char(i, 'FM0000') END, campaign => c[1 + i % 2]);
    IF i % 5 > 0 THEN
      PERFORM set_config('entrestate.clock', to_char(timestamptz '2026-01-05T08:00:00Z' + (i * 53 % leads) * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SSOF'), false);
    END IF;
    PERFORM entrestate.lead_attribute(l, c[2 - i % 2]);
  END LOOP;
END
$$;
SET TimeZone = 'UTC';
SELECT public.tenant(n, 40) FROM unnest('{day,minute,warm-up,campaign}'::text[]) n;
-- what was decided, in that order, and when it had been due
CREATE FUNCTION public.decided() RETURNS TABLE (name text, kind text, key text, most integer[], lead_id uuid, campaign_id uuid, decided_at timestamptz, type smallint,
  due_at timestamptz, txid xid8, id bigint) LANGUAGE sql STABLE AS $$
SELECT b.name, b.kind, b.key, b.most, e.lead_id, e.campaign_id, e.decided_at, e.type, p.next_at AS due_at, e.txid, e.id
FROM public.budget b JOIN entrestate.sender_events e ON e.tenant_id = b.t AND e.type BETWEEN 10 AND 16
JOIN entrestate.sender_events p ON p.tenant_id = b.t AND p.lead_id = e.lead_id AND p.campaign_id = e.campaign_id AND p.run_seq = e.run_seq - 1
$$;
ANALYZE;
SQL
$node->safe_psql('postgres', "CREATE DATABASE limit_$_ TEMPLATE limit_one") for qw(two eight);
my %number;
foreach my $n (qw(one two eight))
{
  my $database = "limit_$n";
  my @at = sessions($database, $sessions{$n});
  foreach my $instant (map { "2026-01-$_:00Z" } qw(05T08:05 05T08:06 05T08:07 05T08:08 06T00:00 06T00:01 06T00:03 07T10:00 07T10:01 07T10:02))
  {
    all_do([ shuffle @at ], map { "SET entrestate.clock = '$instant';\nCALL entrestate.sender_process($_)" } $n eq 'one' ? 1000 : (9, 4));
  }
  $_->quit for @at;
  $number{$n} = $node->safe_psql($database, <<'SQL');
SELECT name, decided_at, count(*) FROM public.decided() WHERE type IN (10, 15) GROUP BY 1, 2 ORDER BY 1, 2
SQL
  is($number{$n}, $number{one}, "$n: the same number at each instant");
  is($node->safe_psql($database, <<'SQL'), '', '... never more than the budget');
SELECT name, "window", count(*) FROM (SELECT d.*, date_trunc(kind, decided_at, 'UTC') AS "window" FROM public.decided() d WHERE type IN (10, 15) AND (key IS NULL OR campaign_id::text = key)) x
GROUP BY 1, 2, kind, most HAVING count(*) > most[CASE kind WHEN 'day' THEN "window"::date - date '2026-01-04' ELSE 1 END]
SQL
  is($node->safe_psql($database, <<'SQL'), "campaign\nday\nminute\nwarm-up", '... all of it, at some time');
SELECT DISTINCT name FROM (SELECT d.*, date_trunc(kind, decided_at, 'UTC') AS "window" FROM public.decided() d WHERE type IN (10, 15) AND (key IS NULL OR campaign_id::text = key)) x
GROUP BY 1, "window", kind, most HAVING count(*) = most[CASE kind WHEN 'day' THEN "window"::date - date '2026-01-04' ELSE 1 END] ORDER BY 1
SQL
  is($node->safe_psql($database, <<'SQL'), '', '... and what was due first is decided first: of one lead, by due time, then campaign');
SELECT name, lead_id, due_at, was_due FROM (
  SELECT d.*, lag(due_at) OVER w AS was_due, lag(due_at) OVER one AS same_due, lag(campaign_id) OVER one AS same_campaign FROM public.decided() d
  WINDOW w AS (PARTITION BY name, CASE WHEN key IS NOT NULL THEN campaign_id END ORDER BY txid, id), one AS (PARTITION BY name, lead_id, CASE WHEN key IS NOT NULL THEN campaign_id END ORDER BY txid, id)) x
WHERE due_at < was_due OR (due_at, campaign_id) < (same_due, same_campaign) LIMIT 5
SQL
  is($node->safe_psql($database, q{SELECT law, object, detail FROM entrestate.verify() WHERE object !~ '^role '}), '', 'verify() finds nothing');
}
$node->stop;
done_testing();
