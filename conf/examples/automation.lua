-- Shaping data: what complaints of a site lead to. Local rules of a second file of shaping_files may look like this.
local shaping = posthorn.shaping

local function rule(name, regex, action, more)
  local r = { name = name, regex = regex, action = action, duration = '1h', samples = more.sample }
  for k, v in pairs(more) do
    if k ~= 'sample' then
      r[k] = v
    end
  end
  return shaping.rule(r)
end

shaping.default {
  connection_limit = 3,
  automation = {
    -- Leave the site alone for an hour, and be gentle from then on.
    rule('slow-down', '^450 .*slow down', {
      'Suspend',
      { SetConfig = { name = 'max_message_rate', value = '3/min' } },
      { SetConfig = { name = 'max_deliveries_per_connection', value = 1 } },
    }, { sample = '450 4.7.0 Please slow down', gradual = false }),

    -- What was sent is not wanted there: give up the rest of it.
    rule('no-mail', '^550 .*domain closed', 'Bounce', { sample = '550 5.7.1 This domain closed' }),
    rule('bad-tenant', '^550 .*known spammer', 'BounceTenant', { sample = '550 5.7.1 A known spammer' }),
    rule('bad-campaign', '^550 .*campaign', 'BounceCampaign', { sample = '550 5.7.1 No more of this campaign' }),

    -- The sender's fault, not the address's: others go on.
    rule('complaints', '^450 .*complaints', 'SuspendTenant', { sample = '450 4.7.1 Too many complaints' }),
    rule('unread', '^450 .*unread', 'SuspendCampaign', { sample = '450 4.7.1 Mostly unread' }),

    -- Only said, not done: to see what a new rule would do.
    rule('on-trial', '^450 .*greylisted', 'Suspend', { sample = '450 4.7.1 You are greylisted', dry_run = true }),

    -- Several complaints of one site.
    rule('often', '^451 .*try later', 'Suspend', { sample = '451 4.7.1 Busy, try later', trigger = { Threshold = '3/h' } }),

    -- A limit that is raised step by step once its time is over.
    rule('crowded', '^421 .*connections', { SetConfig = { name = 'connection_limit', value = 1 } },
      { sample = '421 4.7.0 Too many connections', duration = '3s' }),
  },
}

shaping.provider {
  name = 'prov',
  match = { { mx_suffix = '.prov.example' } },
  known = { ['p1.example'] = { 'mx.p1.prov.example' } },
  automation = {
    -- Several complaints of any of its sites, for one address of ours.
    rule('reputation', '^451 .*reputation', 'Suspend',
      { sample = '451 4.7.1 Low reputation', trigger = { Threshold = '3/h' }, scope = 'provider' }),
  },
}
