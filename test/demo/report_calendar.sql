SELECT format('   %s  %s %s%s', to_char(c.at AT TIME ZONE t.zone, 'Dy DD Mon HH24:MI'), rpad(split_part(t.name, ' ', 1), 6), c.what, ': ' || nullif(nullif(c.said, ''), 'true'))
FROM demo.calendar c JOIN demo.tenants t ON t.n = c.tenant ORDER BY c.at, c.n;
