-- How gently to treat each mailbox provider, and what to do when it complains. posthorn-shaping(5) describes it.
-- Do not change this file: put what you want otherwise into a file of your own behind it (main.cf's shaping_files); a
-- setting there replaces the one here, `unset` and `remove_rules` take away. Try it with: posthorn shaping check.
--
-- Numbers are starting points per source address: what the providers publish where they do, else what senders found to
-- work. A warm address may be allowed more; only your own log can tell.
--
-- Providers that want TLS have 'RequiredInsecure' (encrypted, certificate unchecked) as long as Posthorn does not verify
-- certificates. Replies about authentication or configuration (SPF, DKIM, DMARC, PTR, TLS) trigger nothing: slower
-- sending does not repair them.

local shaping = posthorn.shaping

-- What the rules have in common. Providers count per address of the sender, so rules count over all their sites.
local function rule(name, regex, trigger, duration, action, samples)
  return { name = name, regex = regex, trigger = trigger == 1 and 'Immediate' or { Threshold = trigger },
    duration = duration, action = action, samples = samples, scope = 'provider' }
end
local function per_path(r)
  r.scope = 'path'
  return r
end
local function set(name, value)
  return { SetConfig = { name = name, value = value } }
end
local one_connection = set('provider_connection_limit', 1)

shaping.default {
  connection_limit = 10,
  max_connection_rate = '100/min',
  max_deliveries_per_connection = 100,
  max_message_rate = '100/s',
  idle_timeout = '60s',
  data_timeout = '30s',
  data_dot_timeout = '60s',
  enable_tls = 'Opportunistic',
  consecutive_connection_failures_before_delay = 100,
  remember_broken_tls = '3d',
  automation = {
    per_path(rule('generic-slow-down',
      { '(?i)^4.*too many messages.*slow down', '(?i)^4.*sending rate.*exceeded' }, '3/h', '90m',
      { set('max_message_rate', '1/min'), set('connection_limit', 1) },
      { '421 4.7.0 Too many messages, slow down', '450 4.7.1 Your sending rate has been exceeded' })),
    per_path(rule('generic-listed', '(?i)^5.*client host .* blocked using', '5/h', '2h', 'Suspend',
      { '554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org' })),
  },
}

-- Gmail and Google Workspace.
shaping.provider {
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
    rule('unusual-rate', 'unusual rate of unsolicited mail originating from your (IP|DKIM|SPF)', '2/h', '30m',
      { set('provider_max_message_rate', '10/min'), one_connection },
      { '421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.' }),
    rule('try-later', '^421.*4\\.7\\.0.*[Tt]ry again later, closing connection', '3/h', '10m', one_connection,
      { '421 4.7.0 Try again later, closing connection.' }),
    rule('low-reputation-ip', 'very low reputation of the sending IP', 1, '1h', 'Suspend',
      { '421 4.7.0 This message is suspicious due to the very low reputation of the sending IP address.' }),
    -- The domain's reputation is the same from every address.
    { name = 'low-reputation-domain', regex = 'very low reputation of the sending domain', trigger = 'Immediate',
      duration = '1h', action = 'SuspendTenant', scope = 'provider_total',
      samples = { '421 4.7.0 This message is suspicious due to the very low reputation of the sending domain.' } },
    rule('likely-unsolicited', 'detected that this message is likely', '5/h', '1h', 'Suspend',
      { '550 5.7.1 Our system has detected that this message is likely unsolicited mail.' }),
  },
}

-- Yahoo, AOL, AT&T and what of Comcast has moved there.
shaping.provider {
  name = 'yahoo',
  match = { { mx_suffix = '.yahoodns.net' } },
  known = {
    ['yahoo.com'] = { 'mta5.am0.yahoodns.net', 'mta6.am0.yahoodns.net' },
    ['aol.com'] = { 'mx-aol.mail.gm0.yahoodns.net' },
    ['att.net'] = { 'mx-att.mail.am0.yahoodns.net' },
  },
  max_deliveries_per_connection = 20,
  automation = {
    rule('TS01', '\\[TS01\\]', '3/h', '30m', set('provider_max_message_rate', '1/s'),
      { '421 4.7.0 [TS01] Messages from 192.0.2.1 temporarily deferred' }),
    rule('TS02', '\\[TS02\\]', '3/h', '30m', set('provider_max_message_rate', '1/min'),
      { '421 4.7.0 [TS02] Messages from 192.0.2.1 temporarily deferred' }),
    rule('TS03', '\\[TS03\\]', '3/h', '30m', set('provider_max_message_rate', '10/min'),
      { '421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred' }),
    rule('TSS04', '\\[(TSS|IPTS|TS)04\\]', '2/h', '2h', 'Suspend',
      { '421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints' }),
    rule('TSS05', '\\[(TSS|IPTS)05\\]', '2/h', '4h', 'Suspend', { '421 4.7.0 [TSS05] Messages temporarily deferred' }),
    rule('TSS09', '\\[TSS(09|11)\\]', 1, '4h', 'Suspend',
      { '553 5.7.2 [TSS09] All messages from 192.0.2.1 will be permanently deferred' }),
    rule('listed', { '\\[BL2[13]\\]', '\\[TSS07\\]' }, '5/h', '2h', 'Suspend',
      { '553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus\'s list',
        '553 5.7.1 [TSS07] Connections will not be accepted, because the ip is listed by Spamhaus' }),
    rule('VS1-IP', 'VS1-IP', '2/h', '1h', 'Suspend', { '451 VS1-IP Excessive unknown recipients - possible Open Relay' }),
    per_path(rule('per-connection', 'max(imum)? (number of )?messages per connection', '3/h', '1h',
      set('max_deliveries_per_connection', 5), { '421 Max message per connection reached: max messages per connection' })),
  },
}

shaping.provider {
  name = 'yahoo-japan',
  match = { { mx_suffix = '.mail.yahoo.co.jp' } },
  known = { ['yahoo.co.jp'] = { 'mx1.mail.yahoo.co.jp', 'mx2.mail.yahoo.co.jp' } },
  provider_connection_limit = 2,
  max_message_rate = '10/s',
  max_deliveries_per_connection = 20,
  automation = {
    rule('reputation', { 'VS98-IP0', '\\[(TSS|IPTS)04\\]' }, '2/h', '1h', 'Suspend',
      { '421 VS98-IP0 deferred', '421 4.7.0 [TSS04] Messages temporarily deferred' }),
    rule('command-timeout', '(?i)timeout waiting for command', '2/h', '30m', 'Suspend',
      { '421 4.4.2 Timeout waiting for command' }),
  },
}

-- Outlook.com, Hotmail, Live, MSN.
shaping.provider {
  name = 'outlook',
  match = { { mx_suffix = '.olc.protection.outlook.com' } },
  known = {
    ['outlook.com'] = { 'outlook-com.olc.protection.outlook.com' },
    ['hotmail.com'] = { 'hotmail-com.olc.protection.outlook.com' },
  },
  provider_connection_limit = 5,
  max_deliveries_per_connection = 50,
  automation = {
    rule('block-list', '\\(S31(50|40)\\)', '5/h', '2h', 'Suspend',
      { '550 5.7.1 Unfortunately, messages from [192.0.2.1] weren\'t sent. Please contact your Internet service provider ' ..
        'since part of their network is on our block list (S3150).' }),
    rule('RP-001', 'RP-001', '3/h', '30m', 'Suspend',
      { '421 RP-001 The mail server IP connecting to Outlook.com server has exceeded the rate limit allowed.' }),
    rule('connections', { 'RP-00[23]', '(?i)exceeded the maximum number of connections' }, '2/h', '1h', one_connection,
      { '421 RP-003 The mail server IP has exceeded the connection limit allowed.',
        '451 4.7.652 The mail server [192.0.2.1] has exceeded the maximum number of connections. (S3115)' }),
    rule('rate-limited', '4\\.7\\.65[01]', '3/h', '30m', 'Suspend',
      { '451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)' }),
    rule('complaints', 'SC-00[1234]', '3/h', '24h', 'Suspend',
      { '550 SC-004 Mail rejected by Outlook.com for policy reasons: complaints about mail from this IP.' }),
    rule('compromised', { 'DY-002', 'OU-001' }, 1, '24h', 'Suspend',
      { '550 DY-002 The likely cause is a compromised or virus infected server.',
        '550 OU-001 Mail rejected by Outlook.com for policy reasons: the IP is listed by Spamhaus.' }),
    rule('server-busy', '(?i)4\\.7\\.500 server busy', '5/h', '30m', 'Suspend',
      { '451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77714)' }),
    per_path(rule('per-connection', '(?i)exceeded .*messages per connection', '2/h', '1h',
      set('max_deliveries_per_connection', 2), { '451 4.3.2 You have exceeded the messages per connection limit' })),
  },
}

-- Business mail at Microsoft; .mx.microsoft: tenants with DANE.
shaping.provider {
  name = 'office365',
  match = { { mx_suffix = '.mail.protection.outlook.com' }, { mx_suffix = '.mx.microsoft' } },
  known = {
    ['microsoft.com'] = { 'microsoft-com.mail.protection.outlook.com' },
    ['example.com'] = { 'example-com.a-v1.mx.microsoft' },
  },
  provider_connection_limit = 5,
  max_deliveries_per_connection = 50,
  automation = {
    rule('banned-ip', '5\\.7\\.6(0[6-9]|[1-4][0-9])', 1, '24h', 'Suspend',
      { '550 5.7.606 Access denied, banned sending IP [192.0.2.1].' }),
    rule('access-denied', '^451.*4\\.7\\.(5[0-9][1-9]|5[1-9]0|6[0-4][0-9]|8[5-9][0-9])', '5/h', '1h', 'Suspend',
      { '451 4.7.550 Access denied, please try again later' }),
    rule('rate-limited', '4\\.7\\.65[01]', '3/h', '30m', 'Suspend',
      { '451 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.' }),
    rule('server-busy', '(?i)4\\.7\\.500 server busy', '5/h', '30m', 'Suspend',
      { '451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS761)' }),
    rule('concurrent', '^421.*4\\.3\\.2.*concurrent', '2/h', '1h', one_connection,
      { '421 4.3.2 The maximum number of concurrent server connections has exceeded a limit' }),
    rule('listed', 'AS16012611', '3/h', '2h', 'Suspend',
      { '550 5.7.1 Service unavailable, Client host [192.0.2.1] listed using Spamhaus. (AS16012611)' }),
  },
}

shaping.provider {
  name = 'apple',
  match = { { mx_suffix = '.icloud.com' } },
  known = { ['icloud.com'] = { 'mx01.mail.icloud.com', 'mx02.mail.icloud.com' } },
  provider_connection_limit = 10,
  max_deliveries_per_connection = 5,
  automation = {
    rule('excessive-volume', '(?i)excessive volume', '2/h', '15m', set('provider_max_message_rate', '1/s'),
      { '421 4.7.1 Messages from 192.0.2.1 deferred due to excessive volume' }),
    rule('unavailable', '(?i)^451.*service unavailable', '5/h', '15m', 'Suspend',
      { '451 4.7.1 Service unavailable - try again later' }),
    rule('BS02', '\\[BS02\\]', '5/h', '15m', 'Suspend', { '451 4.5.3 [BS02] Temporary server error. Please try again later' }),
    rule('HCM1', '\\[HCM1\\]', '3/h', '15m', 'Suspend', { '421 4.7.1 [HCM1] Mail from this server is deferred' }),
    rule('local-policy', '\\[(CS0[12]|HM0[78])\\]', '3/h', '4h', 'Suspend',
      { '554 5.7.1 [CS01] Message rejected due to local policy.' }),
    rule('spamhaus', 'Spamhaus', '3/h', '4h', 'Suspend',
      { '550 5.7.1 Mail from domain example.com was rejected: it is present in the Spamhaus DBL' }),
    rule('not-accepting', '(?i)^554.*not accepting connections', '2/h', '1h', 'Suspend',
      { '554 5.7.1 mx01.mail.icloud.com is not accepting connections from 192.0.2.1' }),
  },
}

shaping.provider {
  name = 'comcast',
  match = { { mx_suffix = '.comcast.net' } },
  known = { ['comcast.net'] = { 'mx1a1.comcast.net', 'mx2a1.comcast.net' } },
  provider_connection_limit = 25,
  max_deliveries_per_connection = 1000,
  idle_timeout = '30s',
  enable_tls = 'RequiredInsecure',
  consecutive_connection_failures_before_delay = 24,
  automation = {
    rule('RL0000', 'RL00000?1\\b', '2/h', '2h', set('provider_max_connection_rate', '10000/h'),
      { '421 4.1.0 192.0.2.1 Throttled - try again later. RL000001' }),
    rule('RL000010', 'RL000010', 1, '5m', 'SuspendTenant',
      { '421 4.1.0 192.0.2.1 Throttled - try again later. RL000010' }),
    rule('listed', 'BL000[01]{3}', '2/h', '2h', 'Suspend', { '554 5.7.1 192.0.2.1 blocked. BL000001' }),
    rule('sessions', '(?i)^421.*too many sessions', '2/h', '1h', set('provider_connection_limit', 10),
      { '421 4.7.0 Too many sessions opened from 192.0.2.1' }),
  },
}

-- GMX, WEB.DE, mail.com: one operator. Their 421 lasts for hours.
shaping.provider {
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
    rule('connections', '(?i)too many connections', '3/h', '30m', one_connection, { '421 4.7.0 Too many connections' }),
    rule('policy-restrictions', '^[45]50.*due to policy restrictions', '5/h', '1h',
      set('provider_max_message_rate', '1/min'), { '550 5.7.1 Reject due to policy restrictions.' }),
    rule('policy-554', '^554.*due to policy restrictions', '5/h', '2h', 'Suspend',
      { '554 5.7.1 Reject due to policy restrictions.' }),
    rule('policy-violations', 'due to policy violations', '5/h', '1h', 'Suspend',
      { '421 4.7.1 Reject due to policy violations.' }),
    rule('rate-limit', '(?i)^421.*rate limit reached', '2/h', '1h', 'Suspend', { '421 4.7.0 Rate limit reached.' }),
    rule('listed', '(?i)^554.*no smtp service.*block', '2/h', '2h', 'Suspend',
      { '554 gmx.net (mxgmx015) Nemesis ESMTP Service not available: No SMTP service, IP address is block listed.' }),
  },
}

shaping.provider {
  name = 'orange',
  match = { { mx_suffix = '.orange.fr' } },
  known = { ['orange.fr'] = { 'smtp-in.orange.fr' }, ['wanadoo.fr'] = { 'smtp-in.orange.fr' } },
  provider_connection_limit = 2,
  max_deliveries_per_connection = 100,
  enable_tls = 'RequiredInsecure',
  automation = {
    rule('connections', 'OFR[0-9]*_104', '2/h', '1h', one_connection,
      { '421 mwinf5c04 ME Trop de connexions, veuillez verifier votre configuration. Too many connections. OFR004_104' }),
    rule('refused', 'OFR[0-9]*_(103|505)', '2/h', '1h', 'Suspend',
      { '550 5.7.1 Service refuse. Veuillez essayer plus tard. Service refused, please try later. OFR005_103' }),
    rule('listed', 'OFR[0-9]*_10[12]', '5/h', '2h', 'Suspend',
      { '554 5.7.1 IP 192.0.2.1 blocked by Spamhaus. OFR006_101' }),
    rule('content', 'OFR[0-9]*_51[03]', '5/h', '2h', 'Suspend', { '550 5.7.1 Mail refuse. Mail rejected. OFR_513' }),
    rule('long-delay', 'OFR[0-9]*_999', 1, '3h', 'Suspend', { '421 4.7.1 Service refused, please try later. OFR_999' }),
  },
}

shaping.provider {
  name = 'free',
  match = { { mx_suffix = '.free.fr' } },
  known = { ['free.fr'] = { 'mx1.free.fr', 'mx2.free.fr' } },
  provider_connection_limit = 2,
  max_deliveries_per_connection = 100,
  automation = {
    rule('spam', '(?i)^550.*spam detected', '5/h', '1h', 'Suspend', { '550 5.7.1 spam detected' }),
  },
}

shaping.provider {
  name = 'laposte',
  match = { { mx_suffix = '.laposte.net' } },
  known = { ['laposte.net'] = { 'smtp4.laposte.net' } },
  provider_connection_limit = 2,
  max_deliveries_per_connection = 100,
  automation = {
    rule('throttled', 'LPN[0-9]*_(104|503)', '2/h', '1h', one_connection,
      { '421 4.7.1 Service refused, please try later. LPN007_503' }),
    rule('refused', 'LPN[0-9]*_(103|505|506)', '3/h', '1h', 'Suspend',
      { '550 5.7.1 Mail rejected. LPN007_505' }),
    rule('listed', 'LPN[0-9]*_10[12]', '5/h', '2h', 'Suspend', { '554 5.7.1 Service refused. LPN000_101' }),
  },
}

shaping.provider {
  name = 'sfr',
  match = { { mx_suffix = '.sfr.fr' } },
  known = { ['sfr.fr'] = { 'smtp-in.sfr.fr' } },
  provider_connection_limit = 2,
  max_deliveries_per_connection = 100,
  automation = {
    -- Spam, unknown recipients, volume; their own block lasts two hours.
    rule('blocked', 'SFR_IN_[0-9]0[145]', '2/h', '2h', 'Suspend', { '554 5.7.1 SFR_IN_105 Service refused' }),
  },
}

shaping.provider {
  name = 't-online',
  match = { { mx_suffix = '.t-online.de' } },
  known = { ['t-online.de'] = { 'mx00.t-online.de', 'mx01.t-online.de' } },
  provider_connection_limit = 2,
  automation = {
    -- Lifted by a person only: tobr@rx.t-online.de, tosa@rx.t-online.de.
    rule('reputation', '^554.*(tobr|tosa)@', 1, '24h', 'Suspend',
      { '554 IP=192.0.2.1 - None/bad reputation. Ask your postmaster for help or to contact tobr@rx.t-online.de for reset.' }),
  },
}

shaping.provider {
  name = 'mail.ru',
  match = { { mx_host = 'mxs.mail.ru' } },
  known = { ['mail.ru'] = { 'mxs.mail.ru' } },
  automation = {
    rule('spam', '(?i)^550.*spam message rejected', '5/h', '2h', 'Suspend', { '550 spam message rejected.' }),
  },
}

shaping.provider {
  name = 'yandex',
  match = { { mx_host = 'mx.yandex.ru' }, { mx_host = 'mx.yandex.net' } },
  known = { ['yandex.ru'] = { 'mx.yandex.ru' } },
  automation = {
    rule('spam', '(?i)^554.*5\\.7\\.1.*suspicion of spam', '5/h', '1h', 'Suspend',
      { '554 5.7.1 [1] Message rejected under suspicion of SPAM' }),
  },
}

-- Says 550 for rates that are over.
shaping.provider {
  name = 'qq',
  match = { { mx_suffix = '.qq.com' } },
  known = { ['qq.com'] = { 'mx1.qq.com', 'mx2.qq.com', 'mx3.qq.com' } },
  provider_connection_limit = 4,
  max_deliveries_per_connection = 8,
  enable_tls = 'RequiredInsecure',
  automation = {
    rule('frequency', '(?i)^550.*(ip|domain|sender) frequency limited', '5/h', '1h', 'Suspend',
      { '550 Ip frequency limited', '550 Domain frequency limited' }),
    rule('connections', '(?i)connection (frequency limited|denied)', '5/h', '1h', { 'Suspend', one_connection },
      { '550 Connection frequency limited' }),
    rule('content', { '(?i)mail content denied', '(?i)spam is embedded' }, '5/h', '1h', 'Suspend',
      { '550 Mail content denied', '550 Mail is rejected: spam is embedded in the email' }),
    rule('suspected-ip', '(?i)suspected spam ip', '2/h', '4h', 'Suspend', { '550 Suspected spam ip' }),
  },
}

-- 163.com, 126.com, yeah.net.
shaping.provider {
  name = 'netease',
  match = { { mx_suffix = '.netease.com' } },
  known = { ['163.com'] = { '163mx01.mxmail.netease.com', '163mx02.mxmail.netease.com' } },
  provider_connection_limit = 4,
  max_deliveries_per_connection = 7,
  enable_tls = 'RequiredInsecure',
  automation = {
    rule('spam-451', '^451.*DT:SPM', '5/h', '15m', 'Suspend', { '451 DT:SPM 163 mx1, please try again later' }),
    rule('spam-554', '^554.*DT:SPM', '2/h', '1h', one_connection, { '554 DT:SPM 163 mx1, see http://mail.163.com/help' }),
    rule('connections', { 'HL:ICC', '(?i)too many connections' }, '2/h', '1h', one_connection,
      { '421 HL:ICC 163 mx1', '421 Too many connections' }),
    rule('unknown-recipients', 'HL:REP', '2/h', '1h', 'Suspend', { '421 HL:REP 163 mx1' }),
    rule('volume', { 'HL:(IFC|ITC)', 'RP:ORQ' }, '2/h', '1h', 'Suspend', { '421 HL:IFC 163 mx1', '550 RP:ORQ 163 mx1' }),
    rule('quota', { 'MI:(CEL|DMC|CCL|SFQ)', 'RP:(DRC|CCL)' }, '2/h', '15m', 'Suspend',
      { '451 MI:SFQ 163 mx1', '450 RP:DRC 163 mx1' }),
    rule('listed', { 'DT:RBL', 'WM:BL[IU]' }, '2/h', '4h', 'Suspend', { '450 DT:RBL 163 mx1', '450 WM:BLI 163 mx1' }),
  },
}

-- Gateways: each customer has hosts of its own, or shares those of a region.
shaping.provider {
  name = 'mimecast',
  match = { { mx_suffix = '.mimecast.com' }, { mx_suffix = '.mimecast.co.za' }, { mx_suffix = '.mimecast-offshore.com' } },
  known = { ['example.com'] = { 'eu-smtp-inbound-1.mimecast.com', 'eu-smtp-inbound-2.mimecast.com' } },
  connection_limit = 10, -- for each region
  max_deliveries_per_connection = 100,
  automation = {
    per_path(rule('internal-resource', '(?i)^451.*internal resource', '3/h', '30m', 'Suspend',
      { '451 Internal resources are temporarily unavailable' })),
    per_path(rule('listed-temporarily', '(?i)^451.*temporarily blacklisted', '2/h', '1h', 'Suspend',
      { '451 IP temporarily blacklisted' })),
    per_path(rule('connections', '(?i)account service is temporarily unavailable', '2/h', '1h', set('connection_limit', 5),
      { '451 Account service is temporarily unavailable' })),
    rule('ip-reputation', { '(?i)local ct ip reputation', '(?i)csi poor reputation' }, '2/h', '4h', 'Suspend',
      { '550 Local CT IP Reputation - (reject)', '550 csi.mimecast.org Poor Reputation Sender: csi poor reputation' }),
  },
}

shaping.provider {
  name = 'proofpoint',
  match = { { mx_suffix = '.pphosted.com' }, { mx_suffix = '.ppe-hosted.com' } },
  known = { ['example.com'] = { 'mxa-00000001.gslb.pphosted.com', 'mxb-00000001.gslb.pphosted.com' } },
  connection_limit = 10,
  automation = {
    rule('dynamic-reputation', '(?i)ipcheck\\.proofpoint\\.com', '2/h', '4h', 'Suspend',
      { '554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1' }),
    rule('throttled', '^421.*prs\\.proofpoint\\.com', '2/h', '1h', 'Suspend',
      { '421 4.7.1 Deferred - see http://prs.proofpoint.com/lookup?ip=192.0.2.1' }),
  },
}

shaping.provider {
  name = 'barracuda',
  match = { { mx_suffix = '.barracudanetworks.com' } },
  known = { ['example.com'] = { 'd1.ess.barracudanetworks.com', 'd2.ess.barracudanetworks.com' } },
  provider_connection_limit = 10,
  max_deliveries_per_connection = 15,
  enable_tls = 'RequiredInsecure',
  automation = {
    rule('reputation', { '(?i)barracuda reputation', '(?i)^550 permanent failure.*:blocked' }, '2/h', '4h', 'Suspend',
      { '554 Service unavailable; Client host [192.0.2.1] blocked using Barracuda Reputation',
        '550 permanent failure for one or more recipients (user@example.com:blocked)' }),
  },
}

shaping.provider {
  name = 'netvigator',
  match = { { mx_suffix = '.netvigator.com' } },
  known = { ['netvigator.com'] = { 'mx1.netvigator.com' } },
  provider_connection_limit = 5,
  max_deliveries_per_connection = 10,
  enable_tls = 'RequiredInsecure',
  automation = {
    per_path(rule('per-session', '(?i)too many messages for this session', '3/h', '30m',
      { 'Suspend', set('max_deliveries_per_connection', 5) }, { '421 Too many messages for this session' })),
  },
}

shaping.provider {
  name = 'kpn',
  match = { { mx_suffix = '.kpnmail.nl' } },
  known = { ['kpnmail.nl'] = { 'mx.kpnmail.nl' } },
  provider_connection_limit = 10,
  max_deliveries_per_connection = 10,
  enable_tls = 'RequiredInsecure',
}
