-- email_normalise() and phone_normalise(): what they make of what people write, case by case, and
-- what must hold for every character. The public test sets are test/addresses' matter.

-- Other databases first: their results are kept in variables, since a TAP stream is one session's.
\set declare 'CREATE FUNCTION email_normalise(text) RETURNS text LANGUAGE c STRICT AS ''$libdir/entrestate'', ''leads_email_normalise''; CREATE FUNCTION phone_normalise(text, text DEFAULT NULL) RETURNS text LANGUAGE c AS ''$libdir/entrestate_phone'', ''leads_phone_normalise'''
\set here :DBNAME
SET client_min_messages = warning;
DROP DATABASE IF EXISTS entrestate_latin1;
CREATE DATABASE entrestate_latin1 TEMPLATE template0 ENCODING LATIN1 LOCALE 'C';
DROP DATABASE IF EXISTS entrestate_turkish;
CREATE DATABASE entrestate_turkish TEMPLATE template0 ENCODING UTF8 LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'tr';
\connect entrestate_latin1
SET client_encoding = 'UTF8';
:declare;
-- there is no LATIN1 for the spaces that UTF8 has beyond U+00A0, and no high byte is trimmed
SELECT coalesce(email_normalise(' Some.Body@Example.COM '), 'NULL') AS latin1_ascii,
  coalesce(email_normalise('josé@example.com'), 'NULL') AS latin1_local,
  coalesce(email_normalise('jose@exämple.com'), 'NULL') AS latin1_domain,
  coalesce(email_normalise(E'\u00A0jose@example.com'), 'NULL') AS latin1_space,
  coalesce(phone_normalise(E'044\u00A0668\u00A018\u00A000', 'ch'), 'NULL') AS latin1_phone,
  pg_encoding_to_char(encoding) AS latin1_encoding FROM pg_database WHERE datname = current_database() \gset
\connect entrestate_turkish
:declare;
SELECT email_normalise('INFO@EXAMPLE.COM') AS turkish_ascii,
  email_normalise('IÇ.INFO@EXAMPLE.COM') AS turkish_mixed, lower('I') AS turkish_i \gset
\connect :here
DROP DATABASE entrestate_latin1;
DROP DATABASE entrestate_turkish;

BEGIN;
SET LOCAL client_min_messages = error;
SELECT no_plan();

-- ---------------------------------------------------------------- how they are declared
SELECT is(format('%s%s%s', provolatile, proparallel, proisstrict), wanted, format('%s is declared as it behaves', proname))
FROM pg_proc JOIN (VALUES ('email_normalise', 'ist'), ('phone_normalise', 'ssf')) v(name, wanted) ON proname = name
WHERE pronamespace = 'entrestate'::regnamespace ORDER BY proname;

SELECT is(entrestate.email_normalise('a@example.com') || (pg_read_file('/proc/self/maps') ~ 'libphonenumber'), 'a@example.comfalse',
  'who reads no phone number does not load libphonenumber');
SELECT is(entrestate.phone_normalise('+41446681800') || (pg_read_file('/proc/self/maps') ~ 'libphonenumber'), '+41446681800true',
  'who reads one does');

-- ---------------------------------------------------------------- email, case by case
CREATE TEMP TABLE email (no integer GENERATED ALWAYS AS IDENTITY, given text, wanted text, why text);
INSERT INTO email (given, wanted, why) VALUES
  (NULL, NULL, 'nothing'),
  ('', NULL, 'empty'),
  ('   ', NULL, 'blank'),
  ('@', NULL, 'no more than the sign'),
  ('Ada.Lovelace@Example.COM', 'ada.lovelace@example.com', 'mixed case'),
  ('ada+tag@example.com', 'ada+tag@example.com', 'a tag is part of the address'),
  ('a@b.ch', 'a@b.ch', 'the shortest'),
  ('!#$%&''*+-/=?^_`{|}~@example.com', '!#$%&''*+-/=?^_`{|}~@example.com', 'all of RFC 5322''s atext'),
  ('user@mail-1.sub.example.museum', 'user@mail-1.sub.example.museum', 'several labels'),
  ('user@1und1.de', 'user@1und1.de', 'digits in a label'),
  ('user@123.com', 'user@123.com', 'a label of digits'),
  ('user@r3---sn.example.com', 'user@r3---sn.example.com', 'hyphens that no registry would take'),
  ('user@XN--Bcher-KVA.example', 'user@xn--bcher-kva.example', 'an A-label in capitals'),
  ('user@example.xn--p1ai', 'user@example.xn--p1ai', 'an A-label as top level domain'),
  -- both ends
  ('  a@b.ch  ', 'a@b.ch', 'spaces around'),
  (E'\t\r\n\u000B\fa@b.ch\r\n', 'a@b.ch', 'ASCII white space around'),
  (E'\u200Ba@b.ch\u200B', 'a@b.ch', 'zero-width space around'),
  (E'\u00A0a@b.ch\u00A0', 'a@b.ch', 'no-break space around'),
  (E'\uFEFFa@b.ch\uFEFF', 'a@b.ch', 'byte order mark around'),
  (E'\u3000\u2003a@b.ch\u2028', 'a@b.ch', 'wide spaces around'),
  (E'\u200E\u200F\u202Aa@b.ch\u202C\u2069\u061C', 'a@b.ch', 'marks of direction around'),
  (E' \uFEFF\u00A0 \u200B a@b.ch \u200B ', 'a@b.ch', 'mixed around'),
  (E'\uFEFF\u200B ', NULL, 'nothing but what is trimmed'),
  (repeat(' ', 5000) || 'a@b.ch' || repeat(E'\u200B', 5000), 'a@b.ch', 'much around'),
  -- in the middle
  ('a b@c.ch', NULL, 'space in the local part'),
  ('a @b.ch', NULL, 'space before the sign'),
  ('a@ b.ch', NULL, 'space behind the sign'),
  ('a@b .ch', NULL, 'space in the domain'),
  (E'a\tb@c.ch', NULL, 'tab inside'),
  (E'a@b.ch\nBcc: c@d.ch', NULL, 'another header line'),
  (E'a@b.ch\r\nc@d.ch', NULL, 'two lines'),
  (E'a\u00A0b@c.ch', NULL, 'no-break space inside'),
  (E'a\u3000b@c.ch', NULL, 'ideographic space inside'),
  (E'a\u200Bb@c.ch', NULL, 'zero-width space inside the local part'),
  (E'a\u200Db@c.ch', NULL, 'zero-width joiner'),
  (E'a\u00ADb@c.ch', NULL, 'soft hyphen in the local part'),
  (E'a\u202Eb@c.ch', NULL, 'right-to-left override inside'),
  (E'a\u200Fb@c.ch', NULL, 'right-to-left mark inside'),
  (E'a\u2066b@c.ch', NULL, 'isolate inside'),
  (E'a\uFEFFb@c.ch', NULL, 'byte order mark inside'),
  (E'a\u3164@c.ch', NULL, 'Hangul filler, which looks like nothing'),
  (E'a\uFE0F@c.ch', NULL, 'variation selector'),
  (E'a\uFFFD@c.ch', NULL, 'replacement character: somebody could not decode it'),
  (E'a\uE000@c.ch', NULL, 'private use'),
  (E'a\U000E0041@c.ch', NULL, 'tag character'),
  (E'a\uFFFE@c.ch', NULL, 'no character'),
  -- control characters, and what an import puts for a NUL
  (E'\u0001a@b.ch', NULL, 'U+0001 first'),
  (E'a@b.ch\u0001', NULL, 'U+0001 last'),
  (E'a\u0001@b.ch', NULL, 'U+0001 before the sign'),
  (E'a@\u0001b.ch', NULL, 'U+0001 behind the sign'),
  (E'a\u007F@b.ch', NULL, 'DEL'),
  (E'a@b.ch\u007F', NULL, 'DEL last'),
  (E'a\u001B[1m@b.ch', NULL, 'escape sequence'),
  (E'a\u0085b@c.ch', NULL, 'NEL inside'),
  (E'a\u0090@b.ch', NULL, 'C1 control'),
  -- the sign
  ('a.b.ch', NULL, 'none'),
  ('a@b@c.ch', NULL, 'two'),
  ('a@@b.ch', NULL, 'two together'),
  ('"a@b"@c.ch', NULL, 'one in quotes'),
  ('@b.ch', NULL, 'no local part'),
  ('a@', NULL, 'no domain'),
  (E'a\uFF20b.ch', NULL, 'a full-width one'),
  (E'a@b\uFF20c.ch', NULL, 'a full-width one besides'),
  -- dots
  ('.a@b.ch', NULL, 'first'),
  ('a.@b.ch', NULL, 'last'),
  ('a..b@c.ch', NULL, 'double'),
  ('a@.b.ch', NULL, 'first in the domain'),
  ('a@b.ch.', NULL, 'last in the domain'),
  ('a@b..ch', NULL, 'double in the domain'),
  (E'a@b\u3002ch', 'a@b.ch', 'an ideographic one in the domain'),
  (E'a@b\uFF61\uFF0Ech', NULL, 'two such'),
  -- what is not taken although an RFC has it
  ('"a b"@c.ch', NULL, 'quoted'),
  ('"a"@b.ch', NULL, 'quoted without need'),
  ('a\@b@c.ch', NULL, 'escaped'),
  ('a(comment)@b.ch', NULL, 'comment'),
  ('a@b.ch(comment)', NULL, 'comment behind'),
  ('a@[127.0.0.1]', NULL, 'IPv4 literal'),
  ('a@[IPv6:::1]', NULL, 'IPv6 literal'),
  ('a@localhost', NULL, 'no dot'),
  ('a@b_c.ch', NULL, 'underscore'),
  -- what is none
  ('a@127.0.0.1', NULL, 'address without brackets'),
  ('a@b.123', NULL, 'top level domain of digits'),
  ('a@b.c', NULL, 'top level domain of one letter'),
  ('a@b.c0m', NULL, 'digit in the top level domain'),
  ('a@-b.ch', NULL, 'hyphen first'),
  ('a@b-.ch', NULL, 'hyphen last'),
  ('a@b.xn--', NULL, 'prefix without a label'),
  ('Ada <a@b.ch>', NULL, 'with a name'),
  ('<a@b.ch>', NULL, 'in brackets'),
  ('mailto:a@b.ch', NULL, 'a URL'),
  ('a@b.ch, c@d.ch', NULL, 'two addresses'),
  ('a@b.ch;c@d.ch', NULL, 'two, by a semicolon'),
  ('a@b.ch?subject=x', NULL, 'with a query'),
  ('a[b]@c.ch', NULL, 'square brackets'),
  ('a@b!c.ch', NULL, 'bang path'),
  ('a%00@b.ch', 'a%00@b.ch', 'a percent sign is text'),
  -- lengths
  (repeat('a', 64) || '@b.ch', repeat('a', 64) || '@b.ch', 'local part of 64 octets'),
  (repeat('a', 65) || '@b.ch', NULL, 'local part of 65'),
  (repeat('é', 32) || '@b.ch', repeat('é', 32) || '@b.ch', 'local part of 64 octets in 32 characters'),
  (repeat('é', 33) || '@b.ch', NULL, 'local part of 66 octets in 33 characters'),
  (repeat(E'e\u0301', 32) || '@b.ch', repeat('é', 32) || '@b.ch', 'local part of 64 octets, 96 before'),
  ('a@' || repeat('b', 63) || '.ch', 'a@' || repeat('b', 63) || '.ch', 'label of 63'),
  ('a@' || repeat('b', 64) || '.ch', NULL, 'label of 64'),
  ('a@' || repeat('b.', 125) || 'ch', 'a@' || repeat('b.', 125) || 'ch', '254 octets'),
  ('aa@' || repeat('b.', 125) || 'ch', NULL, '255 octets'),
  (repeat('a', 64) || '@' || repeat('b.', 93) || 'ccc', repeat('a', 64) || '@' || repeat('b.', 93) || 'ccc', '254 octets with the longest local part'),
  (repeat('a', 64) || '@' || repeat('b.', 93) || 'cccc', NULL, '255 octets with it'),
  ('a@' || repeat('ü', 60) || '.ch', NULL, 'label whose A-label is too long'),
  ('a@' || repeat('é.', 100) || 'ch', NULL, 'domain whose A-labels are too long'),
  (repeat('a', 5000000), NULL, 'five megabytes'),
  (repeat('a', 5000000) || '@b.ch', NULL, 'five megabytes before the sign'),
  ('a@' || repeat('ü.', 1000000) || 'ch', NULL, 'a million labels'),
  -- beyond ASCII: the local part
  ('José@example.com', 'josé@example.com', 'an accent'),
  ('JOSÉ@EXAMPLE.COM', 'josé@example.com', 'an accent in capitals'),
  (E'Jose\u0301@example.com', 'josé@example.com', 'an accent of its own'),
  (E'\u212Bngstrom@example.com', 'ångstrom@example.com', 'the sign for Ångström'),
  (E'\u212Aelvin@example.com', 'kelvin@example.com', 'the sign for Kelvin'),
  (E'J\u030C@example.com', 'ǰ@example.com', 'a letter that has no capital of its own'),
  ('Иван@example.com', 'иван@example.com', 'Cyrillic'),
  ('ΑΘΗΝΑ@example.com', 'αθηνα@example.com', 'Greek'),
  ('用户@example.com', '用户@example.com', 'Chinese'),
  ('संपर्क@example.com', 'संपर्क@example.com', 'Hindi, with marks'),
  ('مستخدم@example.com', 'مستخدم@example.com', 'Arabic'),
  ('👍@example.com', '👍@example.com', 'beyond the basic plane'),
  (E'a\u037Eb@c.ch', NULL, 'a Greek question mark, which is a semicolon'),
  (E'a<\u0338b@c.ch', NULL, '< and a stroke'),
  (E'a\u226Eb@c.ch', NULL, 'the same in one'),
  -- beyond ASCII: the domain
  ('a@Bücher.Example', 'a@xn--bcher-kva.example', 'umlaut'),
  (E'a@Bu\u0308cher.example', 'a@xn--bcher-kva.example', 'umlaut of two characters'),
  ('a@straße.de', 'a@xn--strae-oqa.de', 'ß is a letter of its own (not transitional)'),
  ('a@例え.テスト', 'a@xn--r8jz45g.xn--zckzah', 'Japanese'),
  ('почта@пример.рф', 'почта@xn--e1afmkfd.xn--p1ai', 'both'),
  ('a@עברית.co.il', 'a@xn--5dbqzzl.co.il', 'Hebrew'),
  (E'a@אa.ch', NULL, 'both directions in one label'),
  (E'a@\u200Fb.ch', NULL, 'right-to-left mark in the domain'),
  (E'a@\u202Eb.ch', NULL, 'override in the domain'),
  (E'a@b\u00ADc.ch', 'a@bc.ch', 'soft hyphen in the domain: not there, says UTS 46'),
  (E'a@\u00AD.ch', NULL, 'nothing but one'),
  ('a@b' || repeat(E'\u00AD', 100) || '.ch', 'a@b.ch', 'a hundred'),
  ('a@b' || repeat(E'\u00AD', 510) || '.ch', NULL, 'more than 1024 octets as it is given'),
  (E'a@\U0002F868.ch', entrestate.email_normalise(E'a@\u36FC.ch'), 'a Chinese letter with a second number'),
  (E'a@\uFF45\uFF58\uFF41\uFF4D\uFF50\uFF4C\uFF45.ch', 'a@example.ch', 'full-width letters in the domain'),
  (E'a@\uFF11\uFF12\uFF17.0.0.\uFF11', NULL, 'full-width digits for an IP address'),
  ('a@ü.123', NULL, 'top level domain of digits'),
  ('a@ü', NULL, 'no dot'),
  ('a@-ü.ch', NULL, 'hyphen first'),
  ('a@bü_cher.ch', NULL, 'underscore: must not vanish and make another''s domain'),
  ('a@bü cher.ch', NULL, 'blank'),
  (E'a@b\u037Eü.ch', NULL, 'Greek question mark'),
  (E'a@b\u2100ü.ch', NULL, 'a sign that stands for a/c'),
  (E'a@bü\u2260.ch', 'a@' || substr(entrestate.email_normalise(E'a@bü=\u0338.ch'), 3), 'a sign, in one character or two'),
  ('a@☃.ch', NULL, 'a picture');
SELECT is(entrestate.email_normalise(given), wanted, 'email: ' || why) FROM email ORDER BY no;
SELECT is((SELECT string_agg(given, ' ') FROM email WHERE wanted IS NOT NULL
           AND wanted IS DISTINCT FROM entrestate.email_normalise(wanted)), NULL, 'what is normalised stays as it is');

-- ---------------------------------------------------------------- email, character by character
CREATE TEMP TABLE c AS SELECT i, chr(i) AS c FROM generate_series(1, 65535) i WHERE i NOT BETWEEN 55296 AND 57343;
CREATE TEMP TABLE n AS SELECT i, given, entrestate.email_normalise(given) AS norm
  FROM c, LATERAL (VALUES ('a' || c || '@x.ch'), (c || 'a@x.ch'), ('a@b' || c || 'b.ch')) v(given);
SELECT is((SELECT string_agg(DISTINCT to_hex(i), ' ') FROM n WHERE norm <> entrestate.email_normalise(norm)),
  NULL, 'normalised twice is normalised once, for each character');
SELECT is((SELECT string_agg(DISTINCT to_hex(i), ' ') FROM n
           WHERE norm IS DISTINCT FROM entrestate.email_normalise(normalize(given, NFD))),
  NULL, 'and however it is composed');
SELECT is((SELECT string_agg(to_hex(i), ' ' ORDER BY i) FROM n WHERE norm = 'a@bb.ch' AND given LIKE 'a@b%'
           -- as UTS 46 has them: soft hyphen, grapheme joiner, Mongolian selectors, zero-width space,
           -- word joiner, invisible plus, variation selectors, byte order mark
           AND NOT (i IN (173, 847, 8203, 8288, 8292, 65279) OR i BETWEEN 6155 AND 6159 OR i BETWEEN 65024 AND 65039)),
  NULL, 'no character is left out of a domain but what is ignored by rule');
SELECT is((SELECT string_agg(DISTINCT to_hex(i), ' ') FROM n WHERE split_part(norm, '@', 2) !~ '^[a-z0-9.-]+$'),
  NULL, 'domains are ASCII');
SELECT is((SELECT string_agg(to_hex(i), ' ' ORDER BY i) FROM n WHERE given LIKE 'a_@x.ch' AND i < 128 AND norm IS NOT NULL
           AND chr(i) !~ E'[A-Za-z0-9!#$%&''*+/=?^_`{|}~-]'), NULL, 'ASCII in a local part is atext alone');
SELECT is((SELECT count(DISTINCT i)::integer FROM n WHERE given LIKE 'a_@x.ch' AND i < 128 AND norm IS NOT NULL), 81, 'and all of it');

-- ---------------------------------------------------------------- email, other databases
SELECT is(:'latin1_encoding'::text || ' ' || :'latin1_ascii', 'LATIN1 some.body@example.com', 'ASCII in a LATIN1 database');
SELECT is(:'latin1_local'::text, 'NULL', 'nothing else there: local part');
SELECT is(:'latin1_domain'::text, 'NULL', 'nothing else there: domain');
SELECT is(:'latin1_space'::text, 'NULL', 'nothing else there: ends');
SELECT is(:'latin1_phone'::text, '+41446681800', 'a phone number is converted from LATIN1');
SELECT is(:'turkish_i'::text || ' ' || :'turkish_ascii', 'ı info@example.com', 'a Turkish database does not lower ASCII its way');
SELECT is(:'turkish_mixed'::text, 'iç.info@example.com', 'nor beside other letters');

-- ---------------------------------------------------------------- phone, case by case
CREATE TEMP TABLE phone (no integer GENERATED ALWAYS AS IDENTITY, given text, country text, wanted text, why text);
INSERT INTO phone (given, country, wanted, why) VALUES
  (NULL, NULL, NULL, 'nothing'),
  (NULL, 'CH', NULL, 'no number'),
  ('', 'CH', NULL, 'empty'),
  ('   ', 'CH', NULL, 'blank'),
  ('+', 'CH', NULL, 'a plus'),
  ('call me', 'CH', NULL, 'words'),
  -- national notations
  ('(415) 555-2671', 'US', '+14155552671', 'brackets'),
  ('415.555.2671', 'US', '+14155552671', 'dots'),
  ('1-415-555-2671', 'US', '+14155552671', 'with the trunk prefix'),
  ('(613) 555-0123', 'CA', '+16135550123', 'the same plan'),
  ('020 7946 0018', 'GB', '+442079460018', 'fixed line'),
  ('07400 123456', 'GB', '+447400123456', 'mobile'),
  ('030/123456', 'DE', '+4930123456', 'slash'),
  ('01512 3456789', 'DE', '+4915123456789', 'mobile'),
  ('06 12 34 56 78', 'FR', '+33612345678', 'pairs'),
  ('06.12.34.56.78', 'FR', '+33612345678', 'pairs and dots'),
  ('02 1234 5678', 'IT', '+390212345678', 'the zero stays'),
  ('312 345 6789', 'IT', '+393123456789', 'and is not put'),
  ('044 668 18 00', 'CH', '+41446681800', 'fixed line'),
  ('044 668 18 00', 'ch', '+41446681800', 'country in small letters'),
  ('0781234567', 'Ch', '+41781234567', 'mobile, country in both'),
  ('0664 123456', 'AT', '+43664123456', 'mobile'),
  ('612 34 56 78', 'ES', '+34612345678', 'no trunk prefix'),
  ('912 345 678', 'PT', '+351912345678', 'no trunk prefix'),
  ('06-12345678', 'NL', '+31612345678', 'hyphen'),
  ('0470 12 34 56', 'BE', '+32470123456', 'mobile'),
  ('070-123 45 67', 'SE', '+46701234567', 'mobile'),
  ('512 345 678', 'PL', '+48512345678', 'no trunk prefix'),
  ('(11) 96123-4567', 'BR', '+5511961234567', 'nine digits'),
  ('222 123 4567', 'MX', '+522221234567', 'without the 1 that was'),
  ('011 15-2345-6789', 'AR', '+5491123456789', '15 becomes 9'),
  ('081234 56789', 'IN', '+918123456789', 'mobile'),
  ('090-1234-5678', 'JP', '+819012345678', 'mobile'),
  ('131 2345 6789', 'CN', '+8613123456789', 'mobile'),
  ('0412 345 678', 'AU', '+61412345678', 'mobile'),
  ('021 123 4567', 'NZ', '+64211234567', 'mobile'),
  ('050 123 4567', 'AE', '+971501234567', 'mobile'),
  ('071 123 4567', 'ZA', '+27711234567', 'mobile'),
  ('8 (912) 345-67-89', 'RU', '+79123456789', 'trunk prefix 8'),
  ('050-234-5678', 'IL', '+972502345678', 'mobile'),
  ('0501 234 56 78', 'TR', '+905012345678', 'mobile'),
  -- international notations
  ('+41 44 668 18 00', NULL, '+41446681800', 'needs no country'),
  ('+41446681800', 'US', '+41446681800', 'whatever the country'),
  ('+41446681800', 'XX', '+41446681800', 'even if there is none such'),
  ('+41446681800', 'Switzerland', '+41446681800', 'nor such'),
  ('+41446681800', '', '+41446681800', 'nor such'),
  ('0041 44 668 18 00', NULL, '+41446681800', '00 for +'),
  ('0041446681800', 'CH', '+41446681800', '00 is the country''s prefix'),
  ('0041446681800', 'US', '+41446681800', '00 is not, and cannot be anything else'),
  ('011 41 44 668 18 00', 'US', '+41446681800', '011 is the country''s prefix'),
  ('0011 41 44 668 18 00', 'AU', '+41446681800', '0011 is the country''s prefix'),
  ('011 41 44 668 18 00', NULL, NULL, '011 needs a country: Buenos Aires'' numbers begin so'),
  ('011 5002 3456', NULL, NULL, 'as does this one, which is not in the Falklands'),
  ('011 5002 3456', 'AR', '+541150023456', 'but here'),
  ('+44 (0)20 7946 0018', NULL, '+442079460018', 'a zero in brackets'),
  ('++41446681800', NULL, '+41446681800', 'two pluses'),
  ('+0041446681800', NULL, '+41446681800', 'plus and 00'),
  ('tel:+41-44-668-18-00', NULL, '+41446681800', 'a URL'),
  ('tel:044-668-18-00;phone-context=+41', NULL, '+41446681800', 'a URL with its context'),
  ('+800 1234 5678', NULL, '+80012345678', 'a country code of no country'),
  ('+390212345678', NULL, '+390212345678', 'the Italian zero'),
  -- no country, no rules
  ('044 668 18 00', NULL, NULL, 'national without a country'),
  ('044 668 18 00', 'XX', NULL, 'with an unknown one'),
  ('044 668 18 00', 'ZZ', NULL, 'with the library''s word for none'),
  ('044 668 18 00', '001', NULL, 'with the library''s word for the world'),
  ('044 668 18 00', 'CHE', NULL, 'with the long code'),
  ('044 668 18 00', 'C', NULL, 'with half of one'),
  ('044 668 18 00', '', NULL, 'with an empty one'),
  ('044 668 18 00', ' CH', NULL, 'with a blank'),
  ('044 668 18 00', E'C\u0001', NULL, 'with a control character'),
  ('044 668 18 00', 'é', NULL, 'with two octets that are one letter'),
  ('044 668 18 00', repeat('CH', 1000000), NULL, 'with a long one'),
  ('41446681800', NULL, NULL, 'the country code without a plus'),
  -- not valid
  ('+41 44 668 18', NULL, NULL, 'too short'),
  ('+41 44 668 18 00 00', NULL, NULL, 'too long'),
  ('+999 44 668 18 00', NULL, NULL, 'no such country code'),
  ('+1 555 555 5555', NULL, NULL, 'no such area'),
  ('123', 'CH', NULL, 'a short number'),
  ('117', 'CH', NULL, 'an emergency number'),
  ('000000000', 'CH', NULL, 'zeros'),
  ('+1 200 555 2671', NULL, NULL, 'no such area, either'),
  ('2026-01-05', 'CH', NULL, 'a date'),
  ('+41446681800, +41446681801', NULL, NULL, 'two numbers'),
  ('a@b.ch', 'CH', NULL, 'an email address'),
  -- extensions
  ('+41 44 668 18 00 ext. 12', NULL, '+41446681800', 'extension'),
  ('+41 44 668 18 00 x12', NULL, '+41446681800', 'extension by x'),
  ('(415) 555-2671 #12', 'US', '+14155552671', 'extension by #'),
  ('tel:+41-44-668-18-00;ext=12', NULL, '+41446681800', 'extension in a URL'),
  -- characters
  (E'\uFF0B\uFF14\uFF11 \uFF14\uFF14 \uFF16\uFF16\uFF18 \uFF11\uFF18 \uFF10\uFF10', NULL, '+41446681800', 'full-width digits and plus'),
  (E'\uFF10\uFF10\uFF14\uFF11446681800', NULL, '+41446681800', 'full-width zeros for +'),
  (E'\uFF10\uFF14\uFF14 668 18 00', 'CH', '+41446681800', 'full-width digits'),
  (E'+\u0664\u0661 \u0664\u0664 \u0666\u0666\u0668 \u0661\u0668 \u0660\u0660', NULL, '+41446681800', 'Arabic digits'),
  (E'\u202D+41 44 668 18 00\u202C', NULL, '+41446681800', 'marks of direction around, as telephones paste them'),
  (E'\u200E+41446681800\u200F', NULL, '+41446681800', 'the other ones'),
  (E'\u202A0041446681800\u202C', NULL, '+41446681800', 'and 00'),
  (E'\uFEFF+41446681800', NULL, '+41446681800', 'byte order mark'),
  (E'+41\u00A044\u2009668\u202F18\u00A000', NULL, NULL, 'narrow spaces: the library has them not'),
  (E'+41\u00A044\u00A0668\u00A018\u00A000', NULL, '+41446681800', 'no-break spaces'),
  (E'+41\u201144\u2011668\u201118\u201100', NULL, '+41446681800', 'no-break hyphens'),
  (E'+41 44 \u200F668 18 00', NULL, NULL, 'right-to-left mark inside'),
  ('1-800-FLOWERS', 'US', '+18003569377', 'letters on the keypad'),
  ('+1 800 FLOWERS', NULL, '+18003569377', 'the same, international'),
  ('+1 800 FLO', NULL, NULL, 'too few'),
  (E'+41446681800\r\n', NULL, '+41446681800', 'end of line'),
  (E'\t+41446681800', NULL, '+41446681800', 'tab'),
  (E'+41446681800\u0001', NULL, NULL, 'U+0001 last, which an import puts for a NUL'),
  (E'\u0001+41446681800', NULL, NULL, 'U+0001 first'),
  (E'+4144668\u00011800', NULL, NULL, 'U+0001 inside'),
  (E'+41446681800\u007F', NULL, NULL, 'DEL'),
  ('+41446681800' || repeat(' ', 52), NULL, '+41446681800', '64 octets'),
  ('+41446681800' || repeat(' ', 53), NULL, NULL, '65 octets'),
  (repeat('1', 65), 'US', NULL, '65 digits'),
  (repeat('1', 5000000), 'US', NULL, 'five megabytes'),
  (repeat('+', 64), 'US', NULL, '64 pluses'),
  (repeat('(', 64), 'US', NULL, '64 brackets');
SELECT is(entrestate.phone_normalise(given, country), wanted, format('phone, %s: %s', coalesce(left(country, 20), 'no country'), why))
FROM phone ORDER BY no;
SELECT is(entrestate.phone_normalise('+41 44 668 18 00'), '+41446681800', 'the country may be left out');
SELECT is((SELECT string_agg(format('%s in %s', given, c.country), ', ') FROM phone p,
             (SELECT DISTINCT upper(country) AS country FROM phone WHERE length(country) = 2) c
           WHERE entrestate.phone_normalise(given) IS NOT NULL AND entrestate.phone_normalise(given, c.country) IS NULL),
  NULL, 'what needs no country is read with any');
SELECT is((SELECT string_agg(wanted, ' ') FROM phone WHERE wanted IS DISTINCT FROM entrestate.phone_normalise(wanted)
           AND wanted IS NOT NULL), NULL, 'what is normalised stays as it is');

SELECT * FROM finish();
ROLLBACK;
