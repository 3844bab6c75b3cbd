-- Shaping data: what the complaints of a site lead to. A second file of
-- shaping_files may have rules like these.
local shaping = posthorn.shaping

-- A rule for an hour, with a reply that it must hit.
local function rule(name, regex, action, sample, more)
  local r = { name = name, regex = regex, action = action, samples = sample,
    duration = '1h' }
  for key, value in pairs(more or {}) do
    r[key] = value
  end
  return shaping.rule(r)
end

local function set(name, value)
  return { SetConfig = { name = name, value = value } }
end

shaping.default {
  connection_limit = 3,
  automation = {
    -- Leave the site alone for an hour; what is sent all the same (after
    -- 'posthorn overrides cancel'), slowly.
    rule('slow-down', '^450 .*slow down',
      { 'Suspend', set('max_message_rate', '3/min'),
        set('max_deliveries_per_connection', 1) },
      '450 4.7.0 Please slow down', { gradual = false }),

    -- What was sent is not wanted there: give up the rest of it.
    rule('no-mail', '^550 .*domain closed', 'Bounce',
      '550 5.7.1 This domain closed'),
    rule('bad-tenant', '^550 .*known spammer', 'BounceTenant',
      '550 5.7.1 A known spammer'),
    rule('bad-campaign', '^550 .*campaign', 'BounceCampaign',
      '550 5.7.1 No more of this campaign'),

    -- The fault of a sender, not of an address: others go on.
    rule('complaints', '^450 .*complaints', 'SuspendTenant',
      '450 4.7.1 Too many complaints'),
    rule('unread', '^450 .*unread', 'SuspendCampaign',
      '450 4.7.1 Mostly unread'),

    -- Only said, not done: to see what a new rule would do.
    rule('on-trial', '^450 .*greylisted', 'Suspend',
      '450 4.7.1 You are greylisted', { dry_run = true }),

    -- Several complaints of one site.
    rule('often', '^451 .*try later', 'Suspend',
      '451 4.7.1 Busy, try later', { trigger = { Threshold = '3/h' } }),

    -- A limit that is raised step by step once its time is over.
    rule('crowded', '^421 .*connections', set('connection_limit', 1),
      '421 4.7.0 Too many connections', { duration = '3s' }),
  },
}

shaping.provider {
  name = 'prov',
  match = { { mx_suffix = '.prov.example' } },
  known = { ['p1.example'] = { 'mx.p1.prov.example' } },
  automation = {
    -- Several complaints of any of its sites, for one address of ours.
    rule('reputation', '^451 .*reputation', 'Suspend',
      '451 4.7.1 Low reputation',
      { trigger = { Threshold = '3/h' }, scope = 'provider' }),
  },
}
