# What the sender's TAP tests share: a cluster, tenants with due runs, and what became of them.
package S3;
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Exporter 'import';
use Test::More;
our @EXPORT = qw(s3_node s3_database s3_tenant s3_story s3_world s3_world_story s3_differ s3_crowd @s3_instants);

my $CLOCK = '2026-01-05T10:00:00Z';

sub s3_node
{
  my ($name, @conf) = @_;
  my $node = PostgreSQL::Test::Cluster->new($name);
  $node->init;
  $node->append_conf('postgresql.conf', join("\n", 'fsync = off', "lc_messages = 'C'", @conf) . "\n");
  $node->start;
  return $node;
}

sub s3_database
{
  my ($node, $database) = @_;
  $node->safe_psql('postgres', "CREATE DATABASE $database");
  $node->safe_psql($database, "SET client_min_messages = warning; CREATE EXTENSION entrestate; SELECT entrestate.migrate();
    SET entrestate.clock = '$CLOCK'; SELECT entrestate.upkeep();
    CREATE TABLE public.made (name text PRIMARY KEY, t uuid, c uuid)");
  return;
}

# A sandbox tenant with so many runs due at the clock's instant, and a second step three days later.
sub s3_tenant
{
  my ($node, $database, $name, $leads) = @_;
  $node->safe_psql($database, <<"SQL");
SET entrestate.clock = '$CLOCK';
DO \$\$
DECLARE
  t uuid := entrestate.tenant_create('$name', 'boss', 'sandbox', 'America/Toronto');
  m uuid;
  c uuid;
BEGIN
  PERFORM entrestate.login(t, 'boss'), entrestate.tenant_update(dry_run => false), entrestate.channel_set('email', true);
  m := entrestate.template_create('m', 'email', 'b', 's');
  PERFORM entrestate.template_status_set(m, 1, 'approved');
  c := entrestate.campaign_create('c');
  PERFORM entrestate.sequence_create(c, jsonb_build_array(jsonb_build_object('channel', 'email', 'template', m, 'delay', '0'),
    jsonb_build_object('channel', 'email', 'template', m, 'delay', '3 days')));
  PERFORM entrestate.sequence_publish(c, 1), entrestate.campaign_status_set(c, 'active'), entrestate.campaign_update(c, sender_enabled => true);
  -- every fifth has no address: its steps are skipped
  PERFORM entrestate.lead_create('Lead ' || i, CASE WHEN i % 5 <> 0 THEN format('l%s\@example.com', i) END, campaign => c) FROM generate_series(1, $leads) i;
  INSERT INTO public.made VALUES ('$name', t, c);
END
\$\$
SQL
  return;
}

# Everything that the sender wrote, apart from what no two runs share (row ids, transaction ids).
sub s3_story
{
  my ($node, $database) = @_;
  return $node->safe_psql($database, <<'SQL');
SELECT 'event', to_jsonb(e) - '{id,txid,epoch}'::text[] FROM entrestate.sender_events e
UNION ALL SELECT 'run', to_jsonb(r) FROM entrestate.sender_runs r
UNION ALL SELECT 'intent', to_jsonb(i) FROM entrestate.sender_intents i
UNION ALL SELECT 'due', to_jsonb(d) FROM (SELECT w.tenant_id, w.campaign_id, w.version, w.step, w.due_at, unnest(w.leads) AS lead_id FROM entrestate.sender_due w) d
ORDER BY 1, 2
SQL
}

# A world in which nothing is shared between leads: tenants (sandbox, the last one live) with three campaigns, one of them
# a rehearsal; sequences with variants, guards, windows, fields, zero delays; quiet hours and caps; leads of four zones
# with and without addresses, in one to three campaigns; outcomes that the sandbox draws. public.happen(n) is what
# people do before the n'th of @s3_instants.
our @s3_instants = map { "2026-01-$_:00Z" } qw(05T10:00 05T15:00 05T20:30 06T13:00 06T18:00 07T02:00 07T15:00 08T15:00 09T16:00 10T15:00 12T15:30 14T16:00 17T18:00);

sub s3_world
{
  my ($node, $database, $tenants, $leads) = @_;
  s3_database($node, $database);
  $node->safe_psql($database, <<"SQL");
CREATE TABLE public.people (t uuid, i integer, lead uuid, PRIMARY KEY (t, i));
CREATE FUNCTION public.at(instant timestamptz) RETURNS void LANGUAGE sql AS \$\$
  SELECT set_config('entrestate.clock', to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), false)
\$\$;
CREATE FUNCTION public.tenant(n integer, leads integer, live boolean) RETURNS void LANGUAGE plpgsql AS \$\$
DECLARE
  t uuid := entrestate.tenant_create('World ' || n, 'boss', CASE WHEN live THEN 'live' ELSE 'sandbox' END,
    (ARRAY['America/Toronto', 'Australia/Lord_Howe', 'Europe/Berlin'])[1 + n % 3]);
  c uuid[];
  m uuid[];
  id uuid;
  l uuid;
BEGIN
  PERFORM entrestate.login(t, 'boss'), entrestate.tenant_update(dry_run => false), entrestate.channel_set('email', true), entrestate.channel_set('sms', true),
    entrestate.tenant_quiet_hours_set(CASE n % 2 WHEN 0 THEN '[]' ELSE '[{"from": "21:00", "to": "09:00"}]' END::jsonb);
  IF live THEN
    FOREACH l IN ARRAY ARRAY[entrestate.identity_create('email', 'team\@example.com'), entrestate.identity_create('sms', '+14165550000')] LOOP
      PERFORM entrestate.identity_status_set(l, 'pending'), entrestate.identity_status_set(l, 'verified'), entrestate.identity_default_set(l);
    END LOOP;
  ELSE
    PERFORM entrestate.sandbox_set(n, '{"refusal": 0.06, "unknown": 0.04, "chat": 0.15, "hard_bounce": 0.06, "call_request": 0.05, "opt_out": 0.04, "complaint": 0.02}');
  END IF;
  m := ARRAY[entrestate.template_create('a', 'email', 'Hello {{lead.first_name|there}}', 'Hello'), entrestate.template_create('b', 'email', 'Hi', 'Hi'),
    entrestate.template_create('c', 'email', 'About {{lead.company}}', 's'), entrestate.template_create('d', 'sms', 'b')];
  PERFORM entrestate.template_status_set(u, 1, 'approved') FROM unnest(m) u;
  FOR k IN 1 .. 3 LOOP
    c[k] := entrestate.campaign_create('c' || k);
    PERFORM entrestate.sequence_create(c[k], CASE k
      WHEN 1 THEN jsonb_build_array(
        jsonb_build_object('channel', 'email', 'delay', '0', 'variants', jsonb_build_array(jsonb_build_object('template', m[1], 'weight', 3), jsonb_build_object('template', m[2], 'weight', 1))),
        jsonb_build_object('channel', 'sms', 'template', m[4], 'delay', '0', 'guard', '\$.lead.score < 5', 'window', '[{"from": "08:00", "to": "18:00"}]'::jsonb),
        jsonb_build_object('channel', 'email', 'template', m[3], 'delay', '1 day'),
        jsonb_build_object('channel', 'email', 'template', m[1], 'delay', '36 hours', 'guard', '\$.steps[0].outcome == "sent" && \$.now - \$.lead.created_at < 864000'),
        jsonb_build_object('channel', 'sms', 'template', m[4], 'delay', '2 days'))
      ELSE jsonb_build_array(
        jsonb_build_object('channel', 'email', 'template', m[1], 'delay', '0'), jsonb_build_object('channel', CASE k WHEN 2 THEN 'email' ELSE 'sms' END, 'template', m[3 + (k - 2)], 'delay', '1 day'),
        jsonb_build_object('channel', 'email', 'template', m[2], 'delay', '1 day')) END,
      stop_on_reply => k <> 2, exit_predicate => CASE k WHEN 2 THEN '\$.lead.score >= 16' END);
    PERFORM entrestate.sequence_publish(c[k], 1), entrestate.campaign_status_set(c[k], 'active'), entrestate.campaign_update(c[k], sender_enabled => true),
      entrestate.agent_settings_set(c[k], caps => CASE k WHEN 1 THEN '[{"max": 3, "per": "2 days"}, {"max": 2, "per": "20 hours", "channel": "email"}]' ELSE '[{"max": 1, "per": "20 hours", "channel": "email"}]' END::jsonb);
  END LOOP;
  PERFORM entrestate.campaign_rehearse(c[3]);
  FOR i IN 1 .. leads LOOP
    PERFORM public.at('2026-01-05T08:00:00Z'::timestamptz + i % 4 * interval '20 minutes');
    l := entrestate.lead_create('Person ' || i, CASE WHEN i % 7 > 0 THEN format('p%s\@example.com', i) END, CASE WHEN i % 5 > 0 THEN '+1416555' || to_char(i, 'FM0000') END,
      campaign => c[1], company => CASE WHEN i % 3 > 0 THEN 'Company' END, time_zone => (ARRAY[NULL, 'America/Vancouver', 'Asia/Dubai', 'Australia/Lord_Howe'])[1 + i % 4]);
    IF i % 2 = 0 THEN PERFORM entrestate.lead_attribute(l, c[2]); END IF;
    IF i % 3 = 0 THEN PERFORM entrestate.lead_attribute(l, c[3]); END IF;
    INSERT INTO public.people VALUES (t, i, l);
  END LOOP;
  INSERT INTO public.made VALUES (n, t, c[1]);
END
\$\$;
CREATE FUNCTION public.person(t uuid, i integer) RETURNS uuid LANGUAGE sql STABLE AS \$\$ SELECT lead FROM public.people p WHERE (p.t, p.i) = (\$1, \$2) \$\$;
CREATE PROCEDURE public.happen(n integer) LANGUAGE plpgsql AS \$\$
DECLARE
  w record;
BEGIN
  FOR w IN SELECT t, c FROM public.made ORDER BY name LOOP
    PERFORM entrestate.login(w.t, 'boss');
    PERFORM entrestate.signal_add(public.person(w.t, 1 + n * k % 17), (ARRAY['open', 'chat_message', 'form_resubmission', 'click', 'visit_request'])[1 + (n + k) % 5], reference => format('%s %s', n, k))
    FROM generate_series(1, 3) k;
    CASE n
      WHEN 0 THEN PERFORM entrestate.lead_consent(public.person(w.t, 22), 'sms', false, 'letter');
      WHEN 2 THEN PERFORM entrestate.handoff_open(public.person(w.t, 6), 'wants a call');
      WHEN 3 THEN PERFORM entrestate.lead_opt_out(public.person(w.t, 8), 'email'), entrestate.lead_opt_out(public.person(w.t, 9), 'email', scope => 'channel');
      WHEN 4 THEN PERFORM entrestate.lead_merge(public.person(w.t, 11), public.person(w.t, 10)), entrestate.lead_status_set(public.person(w.t, 12), 'booked');
      WHEN 5 THEN PERFORM entrestate.sender_stop(w.c, public.person(w.t, 14), 'x'), entrestate.lead_complained(public.person(w.t, 15)), entrestate.signal_add(public.person(w.t, 16), 'reply');
      WHEN 6 THEN PERFORM entrestate.campaign_status_set(w.c, 'paused');
      WHEN 7 THEN PERFORM entrestate.campaign_resume(w.c), entrestate.lead_erasure_request(public.person(w.t, 18));
      ELSE NULL;
    END CASE;
    COMMIT;
  END LOOP;
END
\$\$;
SELECT public.at('2026-01-05T07:00:00Z');
SELECT public.tenant(n, $leads, n = $tenants) FROM generate_series(1, $tenants) n;
ANALYZE;
SQL
  return;
}

# Everything that a world has become, apart from what no two runs share.
sub s3_world_story
{
  my ($node, $database) = @_;
  return s3_story($node, $database) . "\n" . $node->safe_psql($database, <<'SQL');
SELECT 'callback', to_jsonb(c) FROM entrestate.sandbox_callbacks c
UNION ALL SELECT 'signal', to_jsonb(s) - '{id,txid,epoch}'::text[] FROM entrestate.intent_signals s
UNION ALL SELECT 'lead', to_jsonb(l) FROM entrestate.leads l
UNION ALL SELECT 'score', to_jsonb(g) FROM entrestate.lead_scores g
UNION ALL SELECT 'ticket', to_jsonb(h) - 'ticket_id' FROM entrestate.handoff_tickets h
UNION ALL SELECT 'action', to_jsonb(a) - '{id,txid,epoch}'::text[] FROM entrestate.audience_actions a
UNION ALL SELECT 'suppression', to_jsonb(p) FROM entrestate.suppressions p
UNION ALL SELECT 'usage', to_jsonb(u) FROM entrestate.sender_usage u
UNION ALL SELECT 'hold', to_jsonb(h) FROM entrestate.sender_holds h
ORDER BY 1, 2
SQL
}

# Gives a tenant of s3_tenant(), which has one lead, so many more with runs that are due at the clock's instant: written
# past the guards, since by forms a million would take an hour.
sub s3_crowd
{
  my ($node, $database, $name, $leads) = @_;
  $node->safe_psql($database, <<"SQL");
SET client_min_messages = warning;
SET session_replication_role = replica;
CREATE PROCEDURE public.guards(doing text) LANGUAGE plpgsql AS \$\$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' AND doing = 'DISABLE' LOOP
    EXECUTE format('ALTER EVENT TRIGGER %I DISABLE', r.evtname);
  END LOOP;
  FOR r IN SELECT tgrelid::regclass AS t FROM pg_trigger WHERE tgname = 'guard_system_only' AND tgparentid = 0 LOOP
    EXECUTE format('ALTER TABLE %s %s TRIGGER guard_system_only', r.t, doing);
  END LOOP;
  FOR r IN SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' AND doing <> 'DISABLE' LOOP
    EXECUTE format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', r.evtname);
  END LOOP;
END
\$\$;
CALL public.guards('DISABLE');
CREATE TEMPORARY TABLE crowd AS SELECT i, md5('$name' || i)::uuid AS id FROM generate_series(2, $leads) i;
CREATE TEMPORARY TABLE model AS SELECT l FROM entrestate.leads l JOIN public.made m ON m.t = l.tenant_id WHERE m.name = '$name';
INSERT INTO entrestate.leads SELECT (jsonb_populate_record(m.l, jsonb_build_object('lead_id', c.id))).* FROM model m, crowd c;
INSERT INTO entrestate.lead_contacts SELECT (jsonb_populate_record(k, jsonb_build_object('lead_id', c.id, 'address', 'l' || c.i || '\@example.com', 'address_norm', 'l' || c.i || '\@example.com'))).*
FROM entrestate.lead_contacts k JOIN model m ON k.tenant_id = (m.l).tenant_id, crowd c WHERE c.i % 5 <> 0;
INSERT INTO entrestate.lead_attributions SELECT (jsonb_populate_record(a, jsonb_build_object('lead_id', c.id, 'attribution_id', c.id))).*
FROM entrestate.lead_attributions a JOIN model m ON a.tenant_id = (m.l).tenant_id, crowd c;
INSERT INTO entrestate.sender_runs SELECT (jsonb_populate_record(r, jsonb_build_object('lead_id', c.id))).* FROM entrestate.sender_runs r JOIN model m ON r.tenant_id = (m.l).tenant_id, crowd c;
INSERT INTO entrestate.sender_events (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, mode, decided_at, next_at, score, hot, sequence_version, policy_version)
SELECT e.tenant_id, c.id, e.recorded_at, e.campaign_id, e.type, e.run_seq, e.mode, e.decided_at, e.next_at, e.score, e.hot, e.sequence_version, e.policy_version
FROM entrestate.sender_events e JOIN model m ON e.tenant_id = (m.l).tenant_id, crowd c;
INSERT INTO entrestate.sender_due (tenant_id, campaign_id, version, step, due_at, leads)
SELECT d.tenant_id, d.campaign_id, d.version, d.step, d.due_at, c.ids FROM entrestate.sender_due d JOIN model m ON d.tenant_id = (m.l).tenant_id,
  (SELECT array_agg(id ORDER BY id) AS ids FROM crowd GROUP BY i / 100) c;
CALL public.guards('ENABLE ALWAYS');
DROP PROCEDURE public.guards;
VACUUM ANALYZE;
SQL
  return;
}

# Where two stories first differ; is() would print megabytes.
sub s3_differ
{
  my ($got, $want) = @_;
  my %want = map { $_ => 1 } split /\n/, $want;
  my %got = map { $_ => 1 } split /\n/, $got;
  diag("only here: $_") for grep { defined } (grep { !$want{$_} } split /\n/, $got)[0 .. 3];
  diag("missing: $_") for grep { defined } (grep { !$got{$_} } split /\n/, $want)[0 .. 3];
  return;
}

1;
