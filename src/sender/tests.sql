-- sender: test sends, a step's message to a member. (B1)
--
-- A test is nobody's run: no run, no event of one, no signal, no cap knows of it.
-- It goes to a member's address alone, and not even there while a lead has the
-- same one, so that nobody gets past a lead's gates by it.

CREATE FUNCTION member_contact_set(user_id text, kind text, address text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  t uuid := entrestate.require(CASE user_id WHEN entrestate.current_actor() THEN 'members.contact' ELSE 'members.manage' END);
  norm text;
BEGIN
  PERFORM entrestate.arg_user('user_id', user_id);
  PERFORM entrestate.arg_choice('kind', kind, ARRAY['email', 'phone']);
  IF address IS NOT NULL THEN
    norm := entrestate.arg_address(kind, entrestate.arg_text('address', address, 320), t, NULL);
    -- nobody gives it to a lead meanwhile
    PERFORM entrestate.addresses_lock(t, ARRAY[norm]);
  END IF;
  PERFORM FROM entrestate.members m WHERE m.tenant_id = t AND m.user_id = member_contact_set.user_id FOR KEY SHARE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such member', NULL, 'Add the user with member_add().');
  ELSIF address IS NULL THEN
    DELETE FROM entrestate.member_contacts c
    WHERE c.tenant_id = t AND c.user_id = member_contact_set.user_id AND c.kind = member_contact_set.kind;
  ELSIF EXISTS (SELECT FROM entrestate.lead_contacts c
      WHERE c.address_norm = norm AND c.kind = member_contact_set.kind AND c.tenant_id = t) THEN
    PERFORM entrestate.raise('CONFLICT', 'a lead has this address', 'A test send must not reach a lead.', 'Give another one.');
  ELSE
    INSERT INTO entrestate.member_contacts AS c (tenant_id, user_id, kind, address, address_norm, set_by, set_at)
    VALUES (t, member_contact_set.user_id, member_contact_set.kind, btrim(member_contact_set.address), norm,
      entrestate.current_actor(), entrestate.clock_now())
    ON CONFLICT ON CONSTRAINT member_contacts_pkey DO UPDATE
    SET address = EXCLUDED.address, address_norm = EXCLUDED.address_norm, set_by = EXCLUDED.set_by, set_at = EXCLUDED.set_at
    WHERE c.address <> EXCLUDED.address OR c.address_norm <> EXCLUDED.address_norm;
  END IF;
  -- twice is once
  IF FOUND THEN
    PERFORM entrestate.activity_add('member.contact_set', 'member', user_id, NULL, jsonb_build_object('kind', kind, 'removed', norm IS NULL));
    PERFORM entrestate.audit_add('member.contact', 'member', user_id, jsonb_build_object('kind', kind, 'removed', norm IS NULL));
  END IF;
END
$$;
COMMENT ON FUNCTION member_contact_set(text, text, text) IS
'Sets where a member is reached by email or phone, for test sends; NULL takes the address away. It goes with the member. Refused for an address that a lead has. Events tell that it was set, and not the address. Capability: members.contact for one''s own, members.manage for another''s. Errors: P0002, 22004, 22023, 23505, 54000. (B1)';

CREATE FUNCTION sender_sample(document jsonb, fields text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: a loop.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  f text;
  path text[];
BEGIN
  FOREACH f IN ARRAY fields LOOP
    -- what is the campaign's or the sender's is as it will be
    CONTINUE WHEN f !~ '^(lead|attribution)\.' OR entrestate.template_missing(ARRAY[f], document) IS NULL;
    path := string_to_array(f, '.');
    FOR i IN 1 .. cardinality(path) - 1 LOOP
      IF jsonb_typeof(document #> path[1:i]) IS DISTINCT FROM 'object' THEN
        document := jsonb_set(document, path[1:i], '{}');
      END IF;
    END LOOP;
    document := jsonb_set(document, path, to_jsonb('[' || f || ']'));
  END LOOP;
  RETURN document;
END
$$;
COMMENT ON FUNCTION sender_sample(jsonb, text[]) IS
'Internal: a document of sender_document() in which each of these fields of the lead and its attribution that has no value has a sample: [lead.company].';

CREATE FUNCTION sender_test_gates(tenant uuid, campaign uuid, version integer, step integer, address text, suppressed boolean,
  unapproved boolean, missing text, free_text boolean) RETURNS text
LANGUAGE c VOLATILE
-- every row is looked up by its key, whoever calls
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
AS 'MODULE_PATHNAME', 'sender_test_gates';
COMMENT ON FUNCTION sender_test_gates(uuid, uuid, integer, integer, text, boolean, boolean, text, boolean) IS
'Internal: asks the gates for a test send and takes it from the budgets, or raises 55000 with the reason; returns sent, ready or simulated. address NULL: the member has none; missing: the fields without a value.';

CREATE FUNCTION sender_test_send(campaign uuid, version integer, step integer, member text DEFAULT NULL, lead uuid DEFAULT NULL,
  variant integer DEFAULT NULL, OUT test_id uuid, OUT outcome text, OUT channel text, OUT subject text, OUT body text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  t uuid := entrestate.require('sequence.manage');
  to_whom text := coalesce(member, entrestate.current_actor());
  at timestamptz := entrestate.clock_now();
  tenant_mode text;
  state text;
  s entrestate.sender_steps;
  m entrestate.templates;
  variants jsonb;
  chosen integer;
  into_lead uuid;
  erased boolean;
  reach text;
  norm text;
  d jsonb;
  missing text;
BEGIN
  IF campaign IS NULL OR version IS NULL OR step IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', format('%s is missing', CASE WHEN campaign IS NULL THEN 'campaign' WHEN version IS NULL THEN 'version' ELSE 'step' END));
  END IF;
  PERFORM entrestate.arg_user('member', to_whom);
  -- As a retry does, in the same order; the tenant's row not in share mode, so that
  -- a batch and a test do not both take the last of a budget.
  SELECT x.mode INTO tenant_mode FROM entrestate.tenants x WHERE x.tenant_id = t FOR NO KEY UPDATE;
  PERFORM FROM entrestate.tenant_channels x WHERE x.tenant_id = t FOR SHARE;
  SELECT x.* INTO s FROM entrestate.sender_steps x
  WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = sender_test_send.version AND x.step = sender_test_send.step;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such step', NULL, 'sequence_list() and sequence_get() show a campaign''s.');
  ELSIF NOT EXISTS (SELECT FROM entrestate.members x WHERE x.tenant_id = t AND x.user_id = to_whom) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such member', NULL, 'A test goes to a member of the tenant.');
  END IF;
  reach := CASE s.channel WHEN 'email' THEN 'email' ELSE 'phone' END;
  SELECT c.address_norm INTO norm FROM entrestate.member_contacts c WHERE c.tenant_id = t AND c.user_id = to_whom AND c.kind = reach;
  -- nobody gives the address to a lead, or puts it on the suppression list, meanwhile
  PERFORM entrestate.addresses_lock(t, ARRAY[norm]);
  PERFORM FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign FOR SHARE;
  -- a version that was published, and so pinned, or archived while this waited
  SELECT x.* INTO s FROM entrestate.sender_steps x
  WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = sender_test_send.version AND x.step = sender_test_send.step;
  SELECT q.status INTO state FROM entrestate.sender_sequences q
  WHERE q.tenant_id = t AND q.campaign_id = campaign AND q.version = sender_test_send.version;
  IF state = 'archived' THEN
    PERFORM entrestate.raise('WRONG_STATE', 'the version is archived', NULL, 'sequence_copy() makes a draft of it.');
  END IF;
  IF lead IS NOT NULL THEN
    PERFORM entrestate.require('lead.read');
    SELECT l.merged_into, l.erasure_requested_at IS NOT NULL INTO into_lead, erased
    FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead FOR SHARE;
    IF NOT FOUND THEN
      PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
    ELSIF into_lead IS NOT NULL THEN
      PERFORM entrestate.raise('WRONG_STATE', 'the lead was merged into another one',
        format('It is %s now.', into_lead), 'Use that lead''s id; lead_get() follows by itself.');
    ELSIF erased THEN
      PERFORM entrestate.raise('WRONG_STATE', 'the step cannot be tested: erased', 'The lead asked for its erasure.', 'Take another lead''s values, or none.');
    END IF;
  END IF;
  -- the fiftieth before: ids are in the order of time
  IF at - interval '1 hour' < (SELECT x.created_at FROM entrestate.sender_tests x
      WHERE x.tenant_id = t ORDER BY x.tenant_id DESC, x.test_id DESC OFFSET 49 LIMIT 1) THEN
    PERFORM entrestate.raise('WRONG_STATE', 'the step cannot be tested: rate_limited', 'At most 50 tests an hour are sent.', 'Wait a while.');
  ELSIF EXISTS (SELECT FROM entrestate.lead_contacts c WHERE c.address_norm = norm AND c.kind = reach AND c.tenant_id = t) THEN
    PERFORM entrestate.raise('WRONG_STATE', 'the step cannot be tested: address_of_lead', 'A lead has the member''s address.', 'member_contact_set() gives the member another one.');
  END IF;

  -- the variant
  variants := coalesce(s.variants, jsonb_build_array(jsonb_build_object('template', s.template_id, 'version', s.template_version, 'weight', 1)));
  IF s.variants IS NULL AND variant IS NOT NULL THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'the step has no variants');
  ELSIF variant < 0 OR variant >= jsonb_array_length(variants) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'variant is none of the step''s', format('It has %s, the first is 0.', jsonb_array_length(variants)));
  ELSIF s.variants IS NOT NULL THEN
    chosen := coalesce(variant, CASE WHEN lead IS NULL THEN 0 ELSE entrestate.step_variant(entrestate.run_id(campaign, lead), step,
      ARRAY(SELECT (v.it ->> 'weight')::integer FROM jsonb_array_elements(variants) WITH ORDINALITY v(it, o) ORDER BY v.o)) END);
  END IF;
  -- Its text: what is pinned; of a draft, what would be pinned once it is approved.
  SELECT x.* INTO m FROM entrestate.templates x
  WHERE x.tenant_id = t AND x.template_id = (variants -> coalesce(chosen, 0) ->> 'template')::uuid
    AND (x.version = (variants -> coalesce(chosen, 0) ->> 'version')::integer OR state = 'draft' AND x.status IN ('draft', 'approved'))
  ORDER BY state = 'draft' AND x.status IN ('draft', 'approved') DESC, x.version DESC LIMIT 1;

  d := entrestate.sender_document(t, campaign, lead, at);
  SELECT d || jsonb_build_object('sender', jsonb_build_object('name', i.display_name, 'address', i.address)) INTO d
  FROM entrestate.sender_identity(t, campaign, s.channel) i;
  IF lead IS NULL THEN
    d := entrestate.sender_sample(d, m.fields);
  END IF;
  SELECT string_agg(f.it, ', ' ORDER BY f.o) INTO missing FROM unnest(m.fields) WITH ORDINALITY f(it, o)
  WHERE entrestate.template_missing(ARRAY[f.it], d) IS NOT NULL;
  outcome := entrestate.sender_test_gates(t, campaign, version, step, norm,
    EXISTS (SELECT FROM entrestate.suppressions x WHERE x.tenant_id = t AND x.channel = s.channel AND x.address_norm = norm),
    m.status NOT IN ('draft', 'approved'), missing, m.free_text);

  channel := s.channel;
  subject := '[Test] ' || entrestate.template_render(m.subject, d, false, true);
  body := CASE WHEN s.channel <> 'email' THEN '[Test] ' ELSE '' END || entrestate.template_render(m.body, d, m.html);
  IF body IS NULL OR s.channel = 'email' AND subject IS NULL THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', 'the message is too long', 'It would have more than 1 MB.');
  END IF;
  test_id := entrestate.uuid_v7();
  INSERT INTO entrestate.sender_tests (tenant_id, test_id, campaign_id, version, step, variant, template_id, template_version, channel,
    user_id, lead_id, mode, status, message, requested_by, created_at, final_at, reason)
  VALUES (t, sender_test_send.test_id, campaign, sender_test_send.version, sender_test_send.step, chosen, m.template_id, m.version, s.channel,
    to_whom, lead, CASE outcome WHEN 'simulated' THEN 'dry_run' ELSE tenant_mode END, outcome,
    CASE outcome WHEN 'ready' THEN jsonb_build_object('subject', subject, 'body', body, 'html', m.html) END,
    entrestate.current_actor(), at, CASE WHEN outcome <> 'ready' THEN at END,
    CASE outcome WHEN 'simulated' THEN (SELECT x.code FROM entrestate.sender_reasons() x WHERE x.name = 'dry_run') END);
  PERFORM entrestate.activity_add('sender.tested', 'test', test_id::text, campaign,
    jsonb_build_object('version', version, 'step', step, 'channel', channel, 'outcome', outcome));
  PERFORM entrestate.audit_add('sender.test', 'test', test_id::text, jsonb_strip_nulls(jsonb_build_object('campaign', campaign, 'version', version,
    'step', step, 'variant', chosen, 'member', to_whom, 'lead', lead, 'outcome', outcome)));
END
$$;
COMMENT ON FUNCTION sender_test_send(uuid, integer, integer, text, uuid, integer) IS
'Sends the message of a step, of a draft or published version, to a member (default: the caller), marked [Test], and returns it with what became of it: sent (a sandbox; it sends nothing), ready (it waits for its provider) or simulated (a dry run). Filled with a lead''s values, or without a lead with the fields'' defaults, and samples of the lead''s for what has none. variant: from 0; NULL: the lead''s own, else the first. Of a draft version the newest text that is a draft or approved. No run, event, signal or cap knows of it, but daily limits and rates count it; at most 50 an hour. What the gates of the tenant, the campaign, the channel and the address say other than yes refuses it with the reason; also an address that a lead has (address_of_lead). Capability: sequence.manage, and lead.read for a lead''s values. Errors: P0002, 22004, 22023, 54000, 55000 with the reason. (B1)';

CREATE FUNCTION sender_test_list(campaign uuid, before uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (test_id uuid, version integer, step smallint, variant smallint, channel text, template_id uuid, template_version integer,
  user_id text, lead_id uuid, mode text, status text, reason text, requested_by text, created_at timestamptz, final_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET plan_cache_mode = force_generic_plan SET enable_sort = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
  -- a variable: row security keeps a coalesce() out of an index condition
  upto uuid := coalesce(before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT s.test_id, s.version, s.step, s.variant, s.channel, s.template_id, s.template_version, s.user_id::text, s.lead_id, s.mode, s.status,
    (SELECT x.name FROM entrestate.sender_reasons() x WHERE x.code = s.reason), s.requested_by, s.created_at, s.final_at
  FROM entrestate.sender_tests s
  WHERE s.campaign_id = campaign AND s.tenant_id = t AND s.test_id < upto
  ORDER BY s.campaign_id DESC, s.tenant_id DESC, s.test_id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION sender_test_list(uuid, uuid, integer) IS
'The test sends of a campaign''s steps, newest first; the next page begins before the last row''s test_id. Capability: sender.read. Errors: 22023. (B1)';

GRANT EXECUTE ON FUNCTION member_contact_set(text, text, text), sender_test_send(uuid, integer, integer, text, uuid, integer),
  sender_test_list(uuid, uuid, integer) TO entrestate_app;
