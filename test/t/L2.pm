package L2;
# What the tests of events, dumps and consumers share: a cluster, a database with a flow in it, what
# is in it as a digest, consumers that note what they were given, and error codes.
use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(l2_node l2_database l2_flow l2_step l2_digest l2_fails l2_state l2_eat l2_exact l2_burn l2_guards);

sub l2_node
{
  my ($name, @conf) = @_;
  my $node = PostgreSQL::Test::Cluster->new($name);
  $node->init(extra => [ '--locale=C.UTF-8', '-E', 'UTF8' ], allows_streaming => 'logical');
  $node->append_conf('postgresql.conf', join "\n", 'fsync = off', "lc_messages = 'C'", "timezone = 'UTC'", 'autovacuum_naptime = 1h', @conf, '');
  $node->start;
  return $node;
}

sub l2_database
{
  my ($node, $db) = @_;
  $node->safe_psql('postgres', "CREATE DATABASE $db");
  $node->safe_psql($db, 'CREATE EXTENSION entrestate; SELECT entrestate.migrate();');
}

# Tools that live in the database, and go where it goes: what a consumer was given is noted in the
# transaction that finishes the batch.
my $tools = <<'SQL';
CREATE TABLE public.seen (consumer text NOT NULL, event_table text NOT NULL, row_is text NOT NULL);
CREATE FUNCTION public.event_tables() RETURNS SETOF text LANGUAGE sql AS
  $$ SELECT table_name FROM entrestate.protected_tables WHERE kind = 'events' ORDER BY 1 $$;
CREATE PROCEDURE public.eat(consumer text, max_ticks integer DEFAULT 100) LANGUAGE plpgsql AS $$
DECLARE
  b record;
  t text;
BEGIN
  LOOP
    SELECT * INTO b FROM entrestate.consumer_next(consumer, max_ticks);
    EXIT WHEN NOT FOUND;
    FOR t IN SELECT public.event_tables() LOOP
      EXECUTE format('INSERT INTO public.seen SELECT $1, %1$L, md5(x::text)
        FROM entrestate.consumer_events(NULL::entrestate.%1$I, $2, $3, $4) x', t) USING consumer, b.epoch, b.after, b.upto;
    END LOOP;
    PERFORM entrestate.consumer_done(consumer, b.batch);
    COMMIT;
  END LOOP;
END $$;
-- what was lost, or repeated, or never happened
CREATE FUNCTION public.not_exact(consumer text) RETURNS TABLE (event_table text, what text, n bigint) LANGUAGE plpgsql AS $$
DECLARE
  t text;
BEGIN
  FOR t IN SELECT public.event_tables() LOOP
    RETURN QUERY EXECUTE format($q$
      SELECT %1$L, CASE WHEN s.row_is IS NULL THEN 'lost' WHEN e.row_is IS NULL THEN 'unknown' ELSE 'repeated' END, count(*)
      FROM (SELECT md5(x::text) AS row_is FROM entrestate.%1$I x) e
      FULL JOIN (SELECT s.row_is, count(*) FROM public.seen s WHERE s.consumer = $1 AND s.event_table = %1$L GROUP BY 1) s USING (row_is)
      WHERE s.row_is IS NULL OR e.row_is IS NULL OR s.count > 1 GROUP BY 1, 2 $q$, t) USING consumer;
  END LOOP;
END $$;
CREATE FUNCTION public.digest(of_kinds text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  t text;
  d text;
  everything text := '';
BEGIN
  FOR t IN SELECT table_name FROM entrestate.protected_tables WHERE kind = ANY (of_kinds) ORDER BY 1 LOOP
    EXECUTE format('SELECT count(*) || '' '' || md5(coalesce(string_agg(x::text, chr(10) ORDER BY x::text), '''')) FROM entrestate.%I x', t) INTO d;
    everything := everything || t || ' ' || d || E'\n';
  END LOOP;
  RETURN everything;
END $$;
CREATE PROCEDURE public.burn(n integer) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. n LOOP
    PERFORM pg_current_xact_id();
    COMMIT;
  END LOOP;
END $$;
CREATE TABLE public.tenant (name text PRIMARY KEY, id uuid NOT NULL, campaign uuid);
CREATE FUNCTION public.make_tenant(name text, leads integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  t uuid := entrestate.tenant_create(name, 'u1', 'sandbox', 'America/Toronto');
  m uuid;
  m2 uuid;
  c uuid;
  l uuid;
BEGIN
  PERFORM entrestate.login_record(t, 'u1', 'login.succeeded', '203.0.113.0/24', 'sso');
  PERFORM entrestate.login(t, 'u1');
  PERFORM entrestate.tenant_update(dry_run => false);
  PERFORM entrestate.channel_set('email', true), entrestate.channel_set('sms', true);
  m := entrestate.template_create('hello', 'email', 'Hi', 'Welcome');
  m2 := entrestate.template_create('sms', 'sms', 'Hi');
  PERFORM entrestate.template_status_set(m, 1, 'approved'), entrestate.template_status_set(m2, 1, 'approved');
  c := entrestate.campaign_create('Campaign of ' || name, 'investor');
  PERFORM entrestate.sequence_create(c, jsonb_build_array(
    jsonb_build_object('channel', 'email', 'template', m, 'delay', '0'),
    jsonb_build_object('channel', 'sms', 'template', m2, 'delay', '3 days'),
    jsonb_build_object('channel', 'email', 'template', m, 'delay', '4 days'),
    jsonb_build_object('channel', 'email', 'template', m, 'delay', '60 days')));
  PERFORM entrestate.sequence_publish(c, 1);
  PERFORM entrestate.campaign_status_set(c, 'active');
  PERFORM entrestate.campaign_update(c, sender_enabled => true);
  FOR i IN 1 .. leads LOOP
    l := entrestate.lead_create('Lead ' || i, format('lead%s@example.com', i),
      CASE WHEN i % 3 > 0 THEN '+1 416 555 ' || to_char(i, 'FM0000') END, campaign => c);
    -- some show interest, some turn hot and are braked when their next step comes, some are handed over, some ask to be left alone
    CASE i % 10
      WHEN 1 THEN PERFORM entrestate.signal_add(l, 'open', reference => 'm1'), entrestate.signal_add(l, 'chat_message', campaign => c);
      WHEN 2 THEN PERFORM entrestate.signal_add(l, 'call_request');
      WHEN 3 THEN PERFORM entrestate.handoff_open(l, 'asked', c), entrestate.lead_note_add(l, 'called'), entrestate.lead_tag(l, '{vip}');
      WHEN 4 THEN PERFORM entrestate.lead_opt_out(l, 'email');
      WHEN 5 THEN PERFORM entrestate.lead_merge(entrestate.lead_create('Twin of ' || i, consent => '{email}'), l);
      ELSE NULL;
    END CASE;
  END LOOP;
  PERFORM entrestate.agent_settings_set(c, behaviour => '{"tone": 20}'), entrestate.score_settings_set('{"click": 4}');
  PERFORM entrestate.lead_import('[{"email": "imported@example.com"}, {"email": "none"}]', c),
    entrestate.lead_create('Nobody knows why', attribution => '{"form": "unknown"}');
  PERFORM entrestate.handoff_take(h.ticket_id), entrestate.handoff_resolve(h.ticket_id, 'called')
    FROM entrestate.handoff_list() h ORDER BY h.opened_at LIMIT 1;
  INSERT INTO public.tenant VALUES (name, t, c);
END $$;
SQL

# Two tenants with leads, the first steps sent, and two consumers: one in the middle, one that has
# not begun.
sub l2_flow
{
  my ($node, $db, $leads) = @_;
  $node->safe_psql($db, $tools);
  $node->safe_psql($db, "SET entrestate.clock = '2026-01-05T10:00:00Z'; SELECT entrestate.upkeep();");
  $node->safe_psql($db, "SET entrestate.clock = '2026-01-05T10:00:00Z'; SELECT public.make_tenant('Acme', $leads);");
  $node->safe_psql($db, "SET entrestate.clock = '2026-01-05T10:00:00Z'; SELECT public.make_tenant('Beta', $leads);");
  $node->safe_psql($db, "SELECT entrestate.consumer_create('halfway'); SELECT entrestate.consumer_create('late');");
  l2_step($node, $db, '2026-01-05T11:00:00Z');
  l2_eat($node, $db, 'halfway');
  # ticked and not consumed, then not even ticked
  l2_step($node, $db, '2026-01-09T10:00:00Z');
  $node->safe_psql($db, 'SELECT entrestate.tick()');
  l2_step($node, $db, '2026-01-19T10:00:00Z');
}

sub l2_step
{
  my ($node, $db, $clock) = @_;
  return $node->safe_psql($db, "SET entrestate.clock = '$clock';\nCALL entrestate.sender_process();");
}

sub l2_burn { my ($node, $db, $n) = @_; $node->safe_psql($db, "CALL public.burn($n)"); }

sub l2_digest
{
  my ($node, $db, $kinds) = @_;
  return $node->safe_psql($db, "SELECT public.digest('{" . ($kinds // 'tenant,events,derived,global,catalog') . "}')");
}

sub l2_eat
{
  my ($node, $db, $consumer) = @_;
  $node->safe_psql($db, 'SELECT entrestate.tick()');
  $node->safe_psql($db, "CALL public.eat('$consumer')");
}

# Every event was given to the consumer once.
sub l2_exact
{
  my ($node, $db, $consumer, $what) = @_;
  local $Test::Builder::Level = $Test::Builder::Level + 1;
  is($node->safe_psql($db, "SELECT * FROM public.not_exact('$consumer')"), '', $what);
}

sub l2_guards
{
  my ($node, $db, $what) = @_;
  local $Test::Builder::Level = $Test::Builder::Level + 1;
  is($node->safe_psql($db, 'SELECT * FROM entrestate.verify()'), '', $what);
}

# The SQLSTATE of a statement's error, 00000 when there was none; and that it is the wanted one.
sub l2_state
{
  my ($node, $db, $sql, %options) = @_;
  my ($out, $err);
  $node->psql($db, $sql, stdout => \$out, stderr => \$err, on_error_stop => 1,
    extra_params => [ '-v', 'VERBOSITY=verbose', $options{role} ? ('-U', $options{role}) : () ]);
  my ($state) = $err =~ /ERROR:  (\w{5}): /;
  return wantarray ? ($state // ($err ? $err : '00000'), $err) : $state // ($err ? $err : '00000');
}
sub l2_fails
{
  my ($node, $db, $sql, $state, $like, $what, %options) = @_;
  local $Test::Builder::Level = $Test::Builder::Level + 1;
  my ($got, $err) = l2_state($node, $db, $sql, %options);
  is($got, $state, $what) or diag $err;
  like($err, $like, "$what: it says why") if $like;
}
1;
