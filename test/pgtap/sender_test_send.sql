-- Test sends, a step's message to a member: the specification's section 8, "a test send to a member".
\ir flow_lib.sql
\ir verify_lib.sql
BEGIN;
SELECT no_plan();
SELECT set_config('timezone', 'UTC', true) AS zone \gset spec_
SET LOCAL client_min_messages = error;

SELECT flow.make('t', '{email 0,sms 1 day}') \g /dev/null
SELECT entrestate.member_contact_set('boss', 'email', ' Boss@Example.com ') FROM flow.enter('t') \g /dev/null
SELECT * FROM flow.enter('t'), flow.tenant x, entrestate.sender_test_send(x.campaign, 1, 0) WHERE x.name = 't';
SELECT * FROM flow.enter('t'), flow.tenant x, entrestate.sender_test_list(x.campaign) WHERE x.name = 't';
SELECT pass('x');
SELECT finish();
ROLLBACK;
