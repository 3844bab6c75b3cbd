-- Limits for one mailbox provider: over all its sites together, for each of
-- our addresses and for all of them.
posthorn.source { name = 'ip-1', source_address = '192.0.2.11' }
posthorn.source { name = 'ip-2', source_address = '192.0.2.12' }
posthorn.pool { name = 'news', entries = { { name = 'ip-1' }, { name = 'ip-2' } } }

kumo.on('get_egress_pool', function()
  return 'news'
end)

local of_big = { ['big.example'] = true, ['bigmail.example'] = true }

kumo.on('get_egress_path_config', function(domain, source, site)
  if of_big[domain] then
    return {
      provider_name = 'big',
      provider_max_message_rate = '4/s',        -- from each address
      provider_total_max_message_rate = '6/s',  -- from both together, over all daemons
      provider_connection_limit = 3,
    }
  end
  if domain == 'slow.example' then
    return { max_message_rate = '2/min' }       -- of this path alone
  end
end)
