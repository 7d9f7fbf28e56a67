-- The cases that test/t/012_l1_jwt.pl drives through login_jwt(): that they are what it expects.
\ir jwt_cases.sql
BEGIN;
SELECT plan(4);
SELECT cmp_ok((SELECT count(*) FROM jwt_cases), '>=', 200::bigint, 'there are many');
SELECT is_empty('SELECT name FROM jwt_cases GROUP BY name HAVING count(*) > 1', 'each has its name');
SELECT is_empty($$ SELECT name, expect FROM jwt_cases WHERE expect NOT IN ('ok', 'malformed', 'unsupported_alg', 'no_key',
  'bad_key', 'bad_signature', 'not_yet_valid', 'expired', 'wrong_issuer', 'wrong_audience', 'missing_claim', 'too_long') $$,
  'each expects a status of the verifier');
SELECT is_empty($$ SELECT name FROM jwt_cases WHERE name !~ '^(both|hs|rs|open|nested|dotted): ' $$, 'each says for which settings it is');
SELECT finish();
ROLLBACK;
