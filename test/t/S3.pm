# What the sender's TAP tests share: a cluster, tenants with due runs, and what became of them.
package S3;
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Exporter 'import';
our @EXPORT = qw(s3_node s3_database s3_tenant s3_story);

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

1;
