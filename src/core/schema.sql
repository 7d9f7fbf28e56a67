-- core: what version the schema has, and what is declared about its tables.
-- Run by entrestate.migrate(), as a superuser, with search_path = pg_catalog.

CREATE TABLE entrestate.schema_version (
  schema_version_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  version text NOT NULL,
  migrated_from text,
  migrated_at timestamptz NOT NULL DEFAULT now(),
  migrated_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE entrestate.schema_version IS 'Each migration that migrate() made; the newest row is the schema''s version. (D15)';
COMMENT ON COLUMN entrestate.schema_version.schema_version_id IS 'Order of the migrations.';
COMMENT ON COLUMN entrestate.schema_version.version IS 'Version reached.';
COMMENT ON COLUMN entrestate.schema_version.migrated_from IS 'Version before; NULL for the first.';
COMMENT ON COLUMN entrestate.schema_version.migrated_at IS 'When, by the real clock.';
COMMENT ON COLUMN entrestate.schema_version.migrated_by IS 'The database role that called migrate().';

CREATE TABLE entrestate.protected_tables (
  table_name text COLLATE "C" PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('tenant', 'events', 'derived', 'global', 'catalog')),
  machine text,
  machine_column text,
  by_month boolean NOT NULL DEFAULT false,
  definition text[] NOT NULL,
  CHECK ((machine IS NULL) = (machine_column IS NULL))
);
COMMENT ON TABLE entrestate.protected_tables IS 'What protect() declared of each table: its guards, policies, grants and partitions follow from it, and verify() compares.';
COMMENT ON COLUMN entrestate.protected_tables.table_name IS 'Table in schema entrestate.';
COMMENT ON COLUMN entrestate.protected_tables.kind IS 'tenant: rows of a tenant, written by functions. events: append-only. derived: written by the system alone. global: across tenants, without grants. catalog: read by all roles.';
COMMENT ON COLUMN entrestate.protected_tables.machine IS 'State machine of transitions() that the table''s status follows; steps: rows that stay as they are once their sequence is no draft.';
COMMENT ON COLUMN entrestate.protected_tables.machine_column IS 'The column that holds the state.';
COMMENT ON COLUMN entrestate.protected_tables.by_month IS 'Whether upkeep() makes a partition for each month.';
COMMENT ON COLUMN entrestate.protected_tables.definition IS 'Its columns, constraints and unique indexes when it was declared, as guard_definition() writes them; what a later migration changes it must write here.';

SELECT entrestate.protect('schema_version', 'catalog');
SELECT entrestate.protect('protected_tables', 'catalog');
