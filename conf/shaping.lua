-- How gently to treat each mailbox provider, and what to do when it complains. posthorn-shaping(5) describes it.
-- Do not change this file: put what you want otherwise into a file of your own behind it (main.cf's shaping_files); a
-- setting there replaces the one here, `unset` and `remove_rules` take away. Try it with: posthorn shaping check.
--
-- Where it comes from. Limits: the provider's own pages where it publishes any, else what KumoMTA ships. Rules: the letters
-- behind a rule. G Google's error pages, Y Yahoo's and M Microsoft's pages for senders, N Exchange Online's list of NDR
-- codes, A Apple 102322, K KumoMTA's shaping files, Z ZoneMTA's and F ActiveCampaign's collections of bounces, S sisimai,
-- W pages of third parties (the weakest: watch your own log). "own": a starting value of ours, where nobody gives one; of
-- thresholds (the third word of a rule) it holds wherever K is not among the letters. A warm address may be allowed more;
-- only your own log can tell.
--
-- Providers that want TLS have 'RequiredInsecure' (encrypted, certificate unchecked) as long as Posthorn does not verify
-- certificates. Replies about authentication or configuration (SPF, DKIM, DMARC, PTR, TLS) trigger nothing: slower
-- sending does not repair them. Nor do replies about one recipient, or a recipient's administrator.
--
-- What is the fault of a sender's domain or of a message, and not of an address, suspends the tenant or the campaign, which
-- does nothing for mail without a tenant; behind it stands a rule (-all) for when that does not help: it slows all down.

local shaping = posthorn.shaping

-- What the rules have in common. Providers count per address of the sender, so rules count over all their sites.
local function rule(name, regex, trigger, duration, action, samples)
  return shaping.rule { name = name, regex = regex, trigger = trigger == 1 and 'Immediate' or { Threshold = trigger },
    duration = duration, action = action, samples = samples, scope = 'provider' }
end
local function per_path(r)
  r.scope = 'path'
  return r
end
-- Of the provider from every address.
local function total(r)
  r.scope = 'provider_total'
  return r
end
local function set(name, value)
  return { SetConfig = { name = name, value = value } }
end
local function join(a, b)
  return table.move(b, 1, #b, #a + 1, table.move(a, 1, #a, 1, {}))
end
local one_connection = set('provider_connection_limit', 1)
local slow = set('provider_max_message_rate', '1/s') -- own: "slower" where no rate is given
local very_slow = set('provider_max_message_rate', '10/min')

shaping.default { -- K
  connection_limit = 10,
  max_connection_rate = '100/min',
  max_deliveries_per_connection = 100,
  max_message_rate = '100/s',
  idle_timeout = '60s',
  data_timeout = '30s',
  data_dot_timeout = '60s',
  enable_tls = 'OpportunisticInsecure',
  consecutive_connection_failures_before_delay = 100,
  remember_broken_tls = '3d',
  automation = {
    per_path(rule('generic-slow-down', -- K; patterns and threshold own
      { '(?i)^4.*too many messages.*slow down', '(?i)^4.*sending rate.*exceeded' }, '3/h', '90m',
      { set('max_message_rate', '1/min'), set('connection_limit', 1) },
      { '421 4.7.0 Too many messages, slow down', '450 4.7.1 Your sending rate has been exceeded' })),
    per_path(rule('generic-listed', '(?i)^5.*client host .* blocked using', '5/h', '2h', 'Suspend', -- Z F S
      { '554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org' })),
  },
}

-- Gmail and Google Workspace. One code is used for several faults: the wording tells which.
shaping.provider { -- K
  name = 'google',
  match = { { mx_suffix = '.google.com' }, { mx_suffix = '.googlemail.com' } },
  known = {
    ['gmail.com'] = { 'gmail-smtp-in.l.google.com', 'alt1.gmail-smtp-in.l.google.com' },
    ['google.com'] = { 'smtp.google.com' },
  },
  provider_connection_limit = 5,
  max_deliveries_per_connection = 50,
  enable_tls = 'RequiredInsecure',
  consecutive_connection_failures_before_delay = 5,
  automation = {
    -- 4.7.28. G wants 10 minutes of nothing, then one connection and a slow rise; K's rate and time do about that.
    rule('unusual-rate-ip', '(?i)^421.*4\\.7\\.28.*originating from your ip address', '2/h', '30m',
      { very_slow, one_connection }, -- G K
      { '421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.' }),
    -- The other addresses of the netblock find it out for themselves.
    rule('unusual-rate-netblock', '(?i)^421.*4\\.7\\.28.*netblock', '2/h', '30m', { very_slow, one_connection }, -- G
      { '421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP Netblock.' }),
    total(rule('unusual-rate-domain', '(?i)^421.*4\\.7\\.28.*(dkim|spf) domain', '2/h', '10m', 'SuspendTenant', -- G
      { '421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your DKIM domain.',
        '421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your SPF domain.' })),
    total(rule('unusual-rate-domain-all', '(?i)^421.*4\\.7\\.28.*(dkim|spf) domain', '10/h', '30m', very_slow, -- own
      { '421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your DKIM domain.' })),
    total(rule('unusual-rate-url', '(?i)^421.*4\\.7\\.28.*url domain', '2/h', '1h', 'SuspendCampaign', -- G; time own
      { '421 4.7.28 Gmail has detected an unusual rate of unsolicited mail containing one of your URL domains.' })),
    rule('try-later', '(?i)^421.*4\\.7\\.0.*try again later, closing connection', '3/h', '10m', one_connection, -- G
      { '421 4.7.0 Try again later, closing connection.' }),
    rule('low-reputation-ip', '(?i)^421.*4\\.7\\.0.*very low reputation of the sending ip', 1, '1h', 'Suspend', -- G
      { '421 4.7.0 This message is suspicious due to the very low reputation of the sending IP address.' }),
    rule('blocked-ip', '(?i)^550.*5\\.7\\.1.*very low reputation of the sending ip', 1, '2h', 'Suspend', -- G
      { '550 5.7.1 This message is likely suspicious due to the very low reputation of the sending IP address.' }),
    total(rule('low-reputation-domain', '(?i)^421.*4\\.7\\.0.*very low reputation of the sending domain', 1, '1h',
      'SuspendTenant', -- G
      { '421 4.7.0 This message is suspicious due to the very low reputation of the sending domain.' })),
    total(rule('blocked-domain', '(?i)^550.*5\\.7\\.1.*very low reputation of the sending domain', 1, '2h',
      'SuspendTenant', -- G
      { '550 5.7.1 This message is likely suspicious due to the very low reputation of the sending domain.' })),
    total(rule('low-reputation-domain-all', '(?i)very low reputation of the sending domain', '10/h', '1h', very_slow, -- own
      { '421 4.7.0 This message is suspicious due to the very low reputation of the sending domain.' })),
    rule('likely-unsolicited', '(?i)^550.*5\\.7\\.1.*likely unsolicited', '5/h', '1h', 'Suspend', -- G K
      { '550 5.7.1 Our system has detected that this message is likely unsolicited mail.' }),
  },
}

-- Yahoo, AOL, AT&T and what of Comcast has moved there.
shaping.provider { -- K
  name = 'yahoo',
  match = { { mx_suffix = '.yahoodns.net' } },
  known = {
    ['yahoo.com'] = { 'mta5.am0.yahoodns.net', 'mta6.am0.yahoodns.net' },
    ['aol.com'] = { 'mx-aol.mail.gm0.yahoodns.net' },
    ['att.net'] = { 'mx-att.mail.am0.yahoodns.net' },
  },
  max_deliveries_per_connection = 20,
  automation = {
    rule('TS01', '\\[TS01\\]', '3/h', '30m', slow, { '421 4.7.0 [TS01] Messages from 192.0.2.1 temporarily deferred' }), -- K; rate own
    rule('TS02', '\\[TS02\\]', '3/h', '30m', set('provider_max_message_rate', '1/min'), -- K
      { '421 4.7.0 [TS02] Messages from 192.0.2.1 temporarily deferred' }),
    rule('TS03', '\\[TS03\\]', '3/h', '30m', very_slow, -- K
      { '421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred' }),
    rule('TSS04', '\\[(TSS|IPTS|TS)04\\]', '2/h', '2h', 'Suspend', -- K F Z
      { '421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints',
        '421 4.7.0 [IPTS04] Messages from 192.0.2.1 temporarily deferred' }),
    rule('TSS05', '\\[(TSS|IPTS)05\\]', '2/h', '4h', 'Suspend', { '421 4.7.0 [TSS05] Messages temporarily deferred' }), -- K
    rule('TSS09', '\\[TSS(09|11)\\]', 1, '4h', 'Suspend', -- S W
      { '553 5.7.2 [TSS09] All messages from 192.0.2.1 will be permanently deferred' }),
    rule('listed', { '\\[BL2[13]\\]', '\\[TSS07\\]' }, '5/h', '2h', 'Suspend', -- F Z K S W
      { '553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus\'s list',
        '553 5.7.1 [TSS07] Connections will not be accepted, because the ip is listed by Spamhaus' }),
    rule('deferred', '^451.*\\[170\\]', '3/h', '30m', slow, { '451 Message temporarily deferred - [170]' }), -- K F; all numbers own
    rule('VS1-IP', 'VS1-IP', '2/h', '1h', 'Suspend', { '451 VS1-IP Excessive unknown recipients - possible Open Relay' }), -- W
    per_path(rule('per-connection', '(?i)^421.*max(imum)?( number of)? messages? per connection', '3/h', '1h',
      set('max_deliveries_per_connection', 5), -- K S; 5 own: the 20 of the sources are what we begin with
      { '421 Max messages per connection reached, closing transmission channel' })),
  },
}

shaping.provider { -- K
  name = 'yahoo-japan',
  match = { { mx_suffix = '.mail.yahoo.co.jp' } },
  known = { ['yahoo.co.jp'] = { 'mx1.mail.yahoo.co.jp', 'mx2.mail.yahoo.co.jp' } },
  provider_connection_limit = 2,
  max_message_rate = '10/s',
  max_deliveries_per_connection = 20,
  automation = {
    rule('reputation', { 'VS98-IP0', '\\[(TSS|IPTS)04\\]' }, '2/h', '1h', 'Suspend', -- K
      { '421 VS98-IP0 deferred', '421 4.7.0 [TSS04] Messages temporarily deferred' }),
    rule('command-timeout', '(?i)timeout waiting for command', '2/h', '30m', 'Suspend', -- K
      { '421 4.4.2 Timeout waiting for command' }),
  },
}

-- What both of Microsoft's services say.
local microsoft = {
  rule('rate-limited', { '\\b4\\.7\\.65[01]\\b', '\\((S775|S843|S844|S3114)\\)' }, '3/h', '30m', 'Suspend', -- S F K
    { '451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)',
      '451 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S3114)' }),
  rule('server-busy', { '\\b4\\.7\\.500\\b', '\\((AS761|AS777[0-9]*|S77714|S77719)\\)' }, '5/h', '30m', 'Suspend', -- F K
    { '451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77714)',
      '451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS761)' }),
  -- 4.7.501 to 4.7.699 and 4.7.850 to 4.7.899, without the codes that have rules of their own: 4.7.650 to 4.7.652.
  rule('access-denied', '\\b4\\.7\\.(50[1-9]|5[1-9][0-9]|6[0-4][0-9]|65[3-9]|6[6-9][0-9]|8[5-9][0-9])\\b', '5/h', '1h',
    'Suspend', { '451 4.7.550 Access denied, please try again later' }), -- N K
  rule('busy', '\\b4\\.7\\.700\\b', '3/h', '30m', slow, { '451 4.7.700 Server busy, please try again later' }), -- N; all numbers own
  rule('temporary-error', '(?i)^451.*temporary server error', '5/h', '1h', 'Suspend', -- K
    { '451 4.7.0 Temporary server error. Please try again later.' }),
  rule('connections', { '\\b4\\.7\\.652\\b', '\\(S3115\\)', '^421.*\\b4\\.3\\.2\\b' }, '2/h', '1h', one_connection, -- K N
    { '451 4.7.652 The mail server [192.0.2.1] has exceeded the maximum number of connections. (S3115)',
      '421 4.3.2 The maximum number of concurrent server connections has exceeded a limit, closing transmission channel' }),
  per_path(rule('per-connection', '(?i)^4.*exceeded .*messages per connection', '2/h', '1h', -- K
    set('max_deliveries_per_connection', 2), { '452 4.3.2 You have exceeded the messages per connection limit' })),
  rule('banned-sender', '\\b5\\.7\\.511\\b', 1, '24h', 'Suspend', { '550 5.7.511 Access denied, banned sender' }), -- N
  rule('banned-ip', '\\b5\\.7\\.6(0[6-9]|[1-4][0-9])\\b', 1, '24h', 'Suspend', -- F Z S
    { '550 5.7.606 Access denied, banned sending IP [192.0.2.1].' }),
  rule('ipv6-range', '\\b5\\.7\\.508\\b', '2/h', '1h', 'Suspend', -- N
    { '550 5.7.508 Access denied, sending IPv6 address range has exceeded rate limits.' }),
  rule('spamhaus', '\\(AS16012611\\)', '3/h', '2h', 'Suspend', -- F Z
    { '550 5.7.1 Service unavailable, Client host [192.0.2.1] listed using Spamhaus. (AS16012611)' }),
}

-- Outlook.com, Hotmail, Live, MSN.
shaping.provider { -- K
  name = 'outlook',
  match = { { mx_suffix = '.olc.protection.outlook.com' } },
  known = {
    ['outlook.com'] = { 'outlook-com.olc.protection.outlook.com' },
    ['hotmail.com'] = { 'hotmail-com.olc.protection.outlook.com' },
  },
  provider_connection_limit = 5,
  max_deliveries_per_connection = 50,
  automation = join(microsoft, {
    rule('block-list', '\\((S3150|S3140)\\)', '5/h', '2h', 'Suspend', -- M K
      { '550 5.7.1 Unfortunately, messages from [192.0.2.1] weren\'t sent. Please contact your Internet service provider ' ..
        'since part of their network is on our block list (S3150).' }),
    rule('RP-001', '\\bRP-001\\b', '3/h', '30m', 'Suspend', -- M
      { '421 RP-001 The mail server IP connecting to Outlook.com server has exceeded the rate limit allowed.' }),
    rule('RP-002', '\\bRP-00[23]\\b', '2/h', '1h', one_connection, -- M
      { '421 RP-002 The mail server IP connecting to Outlook.com server has exceeded the rate limit allowed on this connection.',
        '421 RP-003 The mail server IP connecting to Outlook.com server has exceeded the connection limit allowed.' }),
    rule('SC-001', '\\bSC-001\\b', '3/h', '2h', 'Suspend', -- M
      { '550 SC-001 Mail rejected by Outlook.com for policy reasons: the content, or the reputation of the IP.' }),
    rule('SC-002', '\\bSC-002\\b', '3/h', '24h', 'Suspend', -- M: unknown recipients
      { '550 SC-002 Mail rejected by Outlook.com for policy reasons: namespace mining.' }),
    rule('SC-003', '\\bSC-003\\b', '3/h', '24h', 'Suspend', -- M: perhaps somebody has broken in
      { '550 SC-003 Mail rejected by Outlook.com for policy reasons: open proxy or relay.' }),
    rule('SC-004', '\\bSC-004\\b', '3/h', '24h', 'Suspend', -- M: complaints
      { '550 SC-004 Mail rejected by Outlook.com for policy reasons: complaints about mail from this IP.' }),
    rule('DY-002', '\\bDY-002\\b', 1, '24h', 'Suspend', -- M
      { '550 DY-002 Mail rejected by Outlook.com: the likely cause is a compromised or virus infected server.' }),
    rule('OU-001', '\\bOU-001\\b', 1, '2h', 'Suspend', -- M
      { '550 OU-001 Mail rejected by Outlook.com for policy reasons: the IP is listed by Spamhaus.' }),
    rule('S8001', '\\(S8001\\)', '2/h', '4h', 'Suspend', -- F: the name we say in EHLO
      { '550 5.7.1 Service unavailable, HELO domain listed using Spamhaus. (S8001)' }),
    total(rule('S8002', '\\(S8002\\)', '2/h', '4h', 'SuspendTenant', -- F: the sender's domain
      { '550 5.7.1 Service unavailable, MAIL FROM domain listed using Spamhaus. (S8002)' })),
  }),
}

-- Business mail at Microsoft; .mx.microsoft: tenants with DANE.
shaping.provider { -- K
  name = 'office365',
  match = { { mx_suffix = '.mail.protection.outlook.com' }, { mx_suffix = '.mx.microsoft' } },
  known = { ['microsoft.com'] = { 'microsoft-com.mail.protection.outlook.com' } },
  provider_connection_limit = 5,
  max_deliveries_per_connection = 50,
  automation = microsoft,
}

shaping.provider { -- K
  name = 'apple',
  match = { { mx_suffix = '.icloud.com' } },
  known = { ['icloud.com'] = { 'mx01.mail.icloud.com', 'mx02.mail.icloud.com' } },
  provider_connection_limit = 10,
  max_deliveries_per_connection = 5,
  automation = {
    rule('excessive-volume', '(?i)^421.*excessive volume', '2/h', '15m', slow, -- A; rate own
      { '421 4.7.1 Messages from 192.0.2.1 deferred due to excessive volume' }),
    rule('unavailable', '(?i)^451.*4\\.7\\.1.*service unavailable', '5/h', '15m', 'Suspend', -- A K
      { '451 4.7.1 Service unavailable - try again later' }),
    rule('BS02', '\\[BS02\\]', '5/h', '15m', 'Suspend', { '451 4.5.3 [BS02] Temporary server error. Please try again later' }), -- K
    rule('HCM1', '\\[HCM1\\]', '3/h', '15m', 'Suspend', { '421 4.7.1 [HCM1] Mail from this server is deferred' }), -- K
    rule('too-many-errors', '(?i)^421.*4\\.7\\.0.*too many errors', '2/h', '1h', one_connection, -- F; time own
      { '421 4.7.0 mx01.mail.icloud.com Error: too many errors' }),
    rule('local-policy', '\\[(CS0[12]|HM0[78])\\]', '3/h', '4h', 'Suspend', -- F S
      { '554 5.7.1 [CS01] Message rejected due to local policy.' }),
    rule('spamhaus', '^550.*Spamhaus (DBL|SBL)', '3/h', '4h', 'Suspend', -- K S
      { '550 5.7.1 Your email was rejected due to having a domain present in the Spamhaus DBL',
        '550 5.7.1 Mail from IP 192.0.2.1 was rejected due to listing in Spamhaus SBL.' }),
    rule('proofpoint', '(?i)^550.*5\\.7\\.0.*proofpoint\\.com/dnsbl', '3/h', '4h', 'Suspend', -- S
      { '550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.1' }),
    rule('not-accepting', '(?i)^554.*not accepting connections', '2/h', '1h', 'Suspend', -- S
      { '554 5.7.1 mx01.mail.icloud.com is not accepting connections from 192.0.2.1' }),
  },
}

shaping.provider { -- K
  name = 'comcast',
  match = { { mx_suffix = '.comcast.net' } },
  known = { ['comcast.net'] = { 'mx1a1.comcast.net', 'mx2a1.comcast.net' } },
  provider_connection_limit = 25,
  max_deliveries_per_connection = 1000,
  idle_timeout = '30s',
  enable_tls = 'RequiredInsecure',
  consecutive_connection_failures_before_delay = 24,
  automation = {
    rule('RL0000', 'RL0000(?!10)', '2/h', '2h', set('provider_max_connection_rate', '10000/h'), -- K
      { '421 4.1.0 192.0.2.1 Throttled - try again later. RL000001' }),
    rule('RL000010', 'RL000010', 1, '5m', 'SuspendTenant', -- K
      { '421 4.1.0 192.0.2.1 Throttled - try again later. RL000010' }),
    -- The digits say who lists us: 001 Spamhaus, 010 CSI, 100 Sender Score; 000 is spam by its looks.
    rule('listed', 'BL000[01]{3}', '2/h', '2h', 'Suspend', { '554 5.7.1 192.0.2.1 blocked. BL000001' }), -- F W
    rule('sessions', '(?i)^421.*too many sessions', '2/h', '1h', set('provider_connection_limit', 12), -- S: half; time own
      { '421 4.7.0 Too many sessions opened from 192.0.2.1' }),
  },
}

-- GMX, WEB.DE, mail.com: one operator. Their 421 lasts for hours. K gives mail.com more messages a connection, 100.
shaping.provider { -- K
  name = 'united-internet',
  match = { { mx_suffix = '.gmx.net' }, { mx_suffix = '.web.de' }, { mx_suffix = '.mail.com' } },
  known = {
    ['gmx.de'] = { 'mx00.emig.gmx.net', 'mx01.emig.gmx.net' },
    ['web.de'] = { 'mx-ha02.web.de', 'mx-ha03.web.de' },
    ['mail.com'] = { 'mx00.mail.com', 'mx01.mail.com' },
  },
  provider_connection_limit = 4,
  max_deliveries_per_connection = 20,
  enable_tls = 'RequiredInsecure',
  consecutive_connection_failures_before_delay = 5,
  automation = {
    rule('connections', '(?i)too many connections', '3/h', '30m', one_connection, { '421 4.7.0 Too many connections' }), -- K
    rule('policy-restrictions', '(?i)^[45]50.*due to policy restrictions', '5/h', '1h',
      set('provider_max_message_rate', '1/min'), { '550 5.7.1 Reject due to policy restrictions.' }), -- K F
    rule('policy-554', '(?i)^554.*due to policy restrictions', '5/h', '2h', 'Suspend', -- K F
      { '554 5.7.1 Reject due to policy restrictions.' }),
    rule('policy-violations', '(?i)^4(21|50).*due to policy violations', '5/h', '1h', 'Suspend', -- K W
      { '421 4.7.1 Reject due to policy violations.', '450 4.7.1 Reject due to policy violations.' }),
    rule('rate-limit', '(?i)^421.*rate limit reached', '2/h', '1h', 'Suspend', { '421 4.7.0 Rate limit reached.' }), -- W
    rule('listed', '(?i)^554.*no smtp service.*block', '2/h', '2h', 'Suspend', -- Z S
      { '554 gmx.net (mxgmx015) Nemesis ESMTP Service not available: No SMTP service, IP address is block listed.' }),
  },
}

shaping.provider { -- K
  name = 'orange',
  match = { { mx_suffix = '.orange.fr' } },
  known = { ['orange.fr'] = { 'smtp-in.orange.fr' }, ['wanadoo.fr'] = { 'smtp-in.orange.fr' } },
  provider_connection_limit = 2,
  max_deliveries_per_connection = 100,
  enable_tls = 'RequiredInsecure',
  automation = {
    rule('connections', 'OFR[0-9]*_104\\b', '2/h', '1h', one_connection, -- S K
      { '421 mwinf5c04 ME Trop de connexions, veuillez verifier votre configuration. Too many connections. OFR004_104' }),
    rule('refused', 'OFR[0-9]*_(103|505)\\b', '2/h', '1h', 'Suspend', -- S K
      { '550 5.7.1 Service refuse. Veuillez essayer plus tard. Service refused, please try later. OFR005_103' }),
    rule('listed', 'OFR[0-9]*_10[12]\\b', '5/h', '2h', 'Suspend', -- S K
      { '554 5.7.1 IP 192.0.2.1 blocked by Spamhaus. OFR006_101', '550 5.7.1 Service refused. OFR006_102' }),
    rule('content', 'OFR[0-9]*_51[03]\\b', '5/h', '2h', 'Suspend', { '550 5.7.1 Mail refuse. Mail rejected. OFR_513' }), -- S
    rule('long-delay', 'OFR[0-9]*_999\\b', 1, '3h', 'Suspend', { '421 4.7.1 Service refused, please try later. OFR_999' }), -- S
  },
}

shaping.provider { -- own; the limits of the other French providers
  name = 'free',
  match = { { mx_suffix = '.free.fr' } },
  known = { ['free.fr'] = { 'mx1.free.fr', 'mx2.free.fr' } },
  provider_connection_limit = 2,
  max_deliveries_per_connection = 100,
  automation = {
    total(rule('spam', '(?i)^550.*spam detected', '5/h', '1h', 'SuspendCampaign', { '550 5.7.1 spam detected' })), -- F; time own
  },
}

shaping.provider { -- W (their postmaster pages)
  name = 'laposte',
  match = { { mx_suffix = '.laposte.net' } },
  known = { ['laposte.net'] = { 'smtp4.laposte.net' } },
  provider_connection_limit = 2,
  max_deliveries_per_connection = 100,
  automation = { -- the numbers of Orange's codes
    rule('throttled', 'LPN[0-9]*_(104|503)\\b', '2/h', '1h', one_connection, -- S W
      { '421 4.7.1 Service refused, please try later. LPN007_503' }),
    rule('refused', 'LPN[0-9]*_(103|505)\\b', '2/h', '1h', 'Suspend', { '550 5.7.1 Service refused. LPN007_505' }), -- S
    rule('listed', 'LPN[0-9]*_10[12]\\b', '5/h', '2h', 'Suspend', { '554 5.7.1 Service refused. LPN000_101' }), -- S
    rule('content', 'LPN[0-9]*_51[03]\\b', '5/h', '2h', 'Suspend', { '550 5.7.1 Mail rejected. LPN007_513' }), -- S
    rule('long-delay', 'LPN[0-9]*_999\\b', 1, '3h', 'Suspend', { '421 4.7.1 Service refused. LPN007_999' }), -- S
  },
}

shaping.provider { -- W (their postmaster pages)
  name = 'sfr',
  match = { { mx_suffix = '.sfr.fr' } },
  known = { ['sfr.fr'] = { 'smtp-in.sfr.fr' } },
  provider_connection_limit = 2,
  max_deliveries_per_connection = 100,
  automation = {
    -- Spam, unknown recipients, volume; their own block lasts two hours.
    rule('blocked', 'SFR_IN_[0-9]0[145]\\b', '2/h', '2h', 'Suspend', { '554 5.7.1 SFR_IN_105 Service refused' }), -- W
  },
}

shaping.provider { -- own
  name = 't-online',
  match = { { mx_suffix = '.t-online.de' } },
  known = { ['t-online.de'] = { 'mx00.t-online.de', 'mx01.t-online.de' } },
  provider_connection_limit = 2,
  automation = {
    -- Lifted by a person only: tobr@rx.t-online.de, tosa@rx.t-online.de.
    rule('reputation', '^554.*\\b(tobr|tosa)@', 1, '24h', 'Suspend', -- F W
      { '554 IP=192.0.2.1 - None/bad reputation. Ask your postmaster for help or to contact tobr@rx.t-online.de for reset. (NOWL)',
        '554 IP=192.0.2.1 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de to clarify.) (BL)' }),
  },
}

shaping.provider {
  name = 'mail.ru',
  match = { { mx_host = 'mxs.mail.ru' } },
  known = { ['mail.ru'] = { 'mxs.mail.ru' } },
  automation = {
    rule('spam', '(?i)^550.*spam message rejected', '5/h', '2h', 'Suspend', { '550 spam message rejected.' }), -- F
  },
}

shaping.provider {
  name = 'yandex',
  match = { { mx_host = 'mx.yandex.ru' }, { mx_host = 'mx.yandex.net' } },
  known = { ['yandex.ru'] = { 'mx.yandex.ru' } },
  automation = {
    rule('spam', '^554.*5\\.7\\.1.*\\[1\\]', '5/h', '1h', 'Suspend', -- F
      { '554 5.7.1 [1] Message rejected under suspicion of SPAM' }),
  },
}

-- Says 550 for rates that are over.
shaping.provider { -- K
  name = 'qq',
  match = { { mx_suffix = '.qq.com' } },
  known = { ['qq.com'] = { 'mx1.qq.com', 'mx2.qq.com', 'mx3.qq.com' } },
  provider_connection_limit = 4,
  max_deliveries_per_connection = 8,
  enable_tls = 'RequiredInsecure',
  automation = {
    rule('frequency', '(?i)^550.*(ip|domain|sender) frequency limited', '5/h', '1h', 'Suspend', -- F S K
      { '550 Ip frequency limited', '550 Domain frequency limited' }),
    rule('connections', '(?i)connection (frequency limited|denied)', '5/h', '1h', { 'Suspend', one_connection }, -- S K
      { '550 Connection frequency limited' }),
    rule('content', { '(?i)mail content denied', '(?i)spam is embedded' }, '5/h', '1h', 'Suspend', -- S K
      { '550 Mail content denied', '550 Mail is rejected: spam is embedded in the email' }),
    rule('suspected-ip', { '(?i)suspected spam ip', '(?i)suspected bounce attacks' }, '2/h', '4h', 'Suspend', -- S
      { '550 Suspected spam ip', '550 Suspected bounce attacks' }),
  },
}

-- 163.com, 126.com, yeah.net.
shaping.provider { -- K
  name = 'netease',
  match = { { mx_suffix = '.netease.com' } },
  known = { ['163.com'] = { '163mx01.mxmail.netease.com', '163mx02.mxmail.netease.com' } },
  provider_connection_limit = 4,
  max_deliveries_per_connection = 7,
  enable_tls = 'RequiredInsecure',
  automation = {
    rule('spam-451', '^451.*DT:SPM', '5/h', '15m', 'Suspend', { '451 DT:SPM 163 mx1, please try again later' }), -- W K
    rule('spam-554', '^554.*DT:SPM', '2/h', '1h', one_connection, { '554 DT:SPM 163 mx1, see http://mail.163.com/help' }), -- W K
    rule('connections', { 'HL:ICC', '(?i)too many connections' }, '2/h', '1h', one_connection, -- W K
      { '421 HL:ICC 163 mx1', '421 Too many connections' }),
    rule('unknown-recipients', 'HL:REP', '2/h', '1h', 'Suspend', { '421 HL:REP 163 mx1' }), -- W
    rule('volume', { 'HL:(IFC|ITC)', 'RP:ORQ' }, '2/h', '1h', 'Suspend', -- W K
      { '421 HL:IFC 163 mx1', '554 HL:ITC 163 mx1', '550 RP:ORQ 163 mx1' }),
    rule('quota', { 'MI:(CEL|DMC|CCL|SFQ)', 'RP:(DRC|CCL)' }, '2/h', '15m', 'Suspend', -- W
      { '451 MI:SFQ 163 mx1', '450 RP:DRC 163 mx1' }),
    rule('listed', { 'DT:RBL', 'WM:BL[IU]' }, '2/h', '4h', 'Suspend', { '450 DT:RBL 163 mx1', '450 WM:BLI 163 mx1' }), -- W
  },
}

-- Gateways: each customer has hosts of its own, or shares those of a region.
shaping.provider { -- K
  name = 'mimecast',
  match = { { mx_suffix = '.mimecast.com' }, { mx_suffix = '.mimecast.co.za' }, { mx_suffix = '.mimecast-offshore.com' } },
  known = { ['mimecast.com'] = { 'us-smtp-inbound-1.mimecast.com', 'us-smtp-inbound-2.mimecast.com' } },
  connection_limit = 10, -- for each region
  max_deliveries_per_connection = 100,
  automation = {
    per_path(rule('internal-resource', '(?i)^451.*internal resource', '3/h', '30m', 'Suspend', -- S K
      { '451 Internal resources are temporarily unavailable' })),
    per_path(rule('listed-temporarily', '(?i)^451.*temporarily blacklisted', '2/h', '1h', 'Suspend', -- S
      { '451 IP temporarily blacklisted' })),
    -- More than 20 connections. The limit above should prevent it: this is for those who have raised it.
    per_path(rule('connections', '(?i)^451.*account service is temporarily unavailable', '2/h', '1h',
      set('connection_limit', 10), { '451 Account service is temporarily unavailable' })), -- S; time own
    rule('ip-reputation', { '(?i)local ct ip reputation', '(?i)csi poor reputation' }, '2/h', '4h', 'Suspend', -- S Z
      { '550 Local CT IP Reputation - (reject)', '550 csi.mimecast.org Poor Reputation Sender: csi poor reputation' }),
  },
}

shaping.provider {
  name = 'proofpoint',
  match = { { mx_suffix = '.pphosted.com' }, { mx_suffix = '.ppe-hosted.com' } },
  known = { ['proofpoint.com'] = { 'mxa-00000001.gslb.pphosted.com', 'mxb-00000001.gslb.pphosted.com' } },
  connection_limit = 10, -- own
  automation = {
    rule('dynamic-reputation', '(?i)^55.*ipcheck\\.proofpoint\\.com', '2/h', '4h', 'Suspend', -- F Z
      { '554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1' }),
    rule('throttled', '(?i)^421.*prs\\.proofpoint\\.com', '2/h', '1h', 'Suspend', -- F
      { '421 4.7.1 Deferred - see http://prs.proofpoint.com/lookup?ip=192.0.2.1' }),
  },
}

shaping.provider { -- K
  name = 'barracuda',
  match = { { mx_suffix = '.barracudanetworks.com' } },
  known = { ['barracuda.com'] = { 'd1.ess.barracudanetworks.com', 'd2.ess.barracudanetworks.com' } },
  provider_connection_limit = 10,
  max_deliveries_per_connection = 15,
  enable_tls = 'RequiredInsecure',
  automation = {
    rule('reputation', { '(?i)barracuda reputation', '(?i)^550 permanent failure.*:blocked' }, '2/h', '4h', 'Suspend', -- F Z
      { '554 Service unavailable; Client host [192.0.2.1] blocked using Barracuda Reputation',
        '550 permanent failure for one or more recipients (user@example.com:blocked)' }),
  },
}

shaping.provider { -- K
  name = 'netvigator',
  match = { { mx_suffix = '.netvigator.com' } },
  known = { ['netvigator.com'] = { 'mx1.netvigator.com' } },
  provider_connection_limit = 5,
  max_deliveries_per_connection = 10,
  enable_tls = 'RequiredInsecure',
  automation = {
    per_path(rule('per-session', '(?i)too many messages for this session', '3/h', '30m',
      { 'Suspend', set('max_deliveries_per_connection', 5) }, { '421 Too many messages for this session' })), -- K; 5 own
  },
}

shaping.provider { -- K
  name = 'kpn',
  match = { { mx_suffix = '.kpnmail.nl' } },
  known = { ['kpnmail.nl'] = { 'mx.kpnmail.nl' } },
  provider_connection_limit = 10,
  max_deliveries_per_connection = 10,
  enable_tls = 'RequiredInsecure',
}
