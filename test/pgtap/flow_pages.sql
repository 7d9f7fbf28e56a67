-- Pages by key lose no row and repeat none, though all rows of one transaction share their instant.
\ir flow_lib.sql
SELECT plan(4);
SELECT flow.at('2026-01-05T10:00:00Z');
BEGIN;
SELECT flow.make('pages', '{"email 0"}');
SELECT count(entrestate.lead_create('L' || g, campaign => (SELECT t.campaign FROM flow.tenant t WHERE t.name = 'pages')))
FROM generate_series(1, 120) g;
COMMIT;

-- Walks all pages of a list and returns its keys; "page" has $1 instant and $2 id of the last row.
CREATE FUNCTION flow.walk(page text) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
  at timestamptz;
  id uuid;
  r record;
  n integer;
BEGIN
  FOR i IN 1 .. 100 LOOP
    n := 0;
    FOR r IN EXECUTE page USING at, id LOOP
      n := n + 1;
      at := r.at;
      id := r.id;
      RETURN NEXT id;
    END LOOP;
    EXIT WHEN n = 0;
  END LOOP;
END
$$;
CREATE FUNCTION flow.same(page text, everything text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  walked uuid[];
  wanted uuid[];
BEGIN
  PERFORM flow.enter('pages');
  SELECT array_agg(w ORDER BY w) INTO walked FROM flow.walk(page) w;
  EXECUTE everything INTO wanted;
  RETURN CASE WHEN walked = wanted AND cardinality(wanted) > 7 THEN 'the same'
    ELSE format('%s walked, %s there', cardinality(walked), cardinality(wanted)) END;
END
$$;
SELECT is(flow.same('SELECT updated_at AS at, lead_id AS id FROM entrestate.lead_list((SELECT campaign FROM flow.tenant WHERE name = ''pages''), $1, $2, 7)',
  'SELECT array_agg(lead_id ORDER BY lead_id) FROM entrestate.leads WHERE tenant_id = entrestate.current_tenant()'), 'the same', 'lead_list');
SELECT is(flow.same('SELECT (event ->> ''timestamp'')::timestamptz AS at, (event ->> ''id'')::uuid AS id FROM entrestate.activity_feed($1, $2, 7)',
  'SELECT array_agg(id ORDER BY id) FROM entrestate.activity_events WHERE tenant_id = entrestate.current_tenant()'), 'the same', 'activity_feed');
SELECT is(flow.same('SELECT (event ->> ''timestamp'')::timestamptz AS at, (event ->> ''id'')::uuid AS id FROM entrestate.activity_feed($1, $2, 7, (SELECT campaign FROM flow.tenant WHERE name = ''pages''))',
  'SELECT array_agg(id ORDER BY id) FROM entrestate.activity_events WHERE tenant_id = entrestate.current_tenant() AND campaign_id IS NOT NULL'), 'the same', 'activity_feed of a campaign');
SELECT is(flow.same('SELECT recorded_at AS at, id FROM entrestate.audit_list($1, $2, 1)',
  'SELECT array_agg(id ORDER BY id) FROM entrestate.audit_log WHERE tenant_id = entrestate.current_tenant()'), 'the same', 'audit_list');
SELECT * FROM finish();
