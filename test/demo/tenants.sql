-- Two tenants of different time zones, each with two campaigns and a follow-up of three steps:
-- an email at once, a text message two days later, an email three days after that.
SELECT min(arrived) || 'T13:00:00Z' AS clock, 2 + (max(arrived) - min(arrived)) / 28 AS months FROM demo.leads \gset
SET entrestate.clock = :'clock';
SELECT entrestate.upkeep(1, :months);

INSERT INTO demo.tenants VALUES
  (1, entrestate.tenant_create('Maple Homes', 'owner@maple.example', 'sandbox', 'America/Toronto', 'CAD'),
    'Maple Homes', 'web@maple.example'),
  (2, entrestate.tenant_create('Marina Estates', 'owner@marina.example', 'sandbox', 'Asia/Dubai', 'AED'),
    'Marina Estates', 'web@marina.example');
\set n 1
\set owner owner@maple.example
\ir tenant.sql
\set n 2
\set owner owner@marina.example
\ir tenant.sql

SET ROLE demo_reader;
SELECT entrestate.consumer_create('demo');
