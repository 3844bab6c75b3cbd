-- How gently to treat a destination, beyond what shaping data say: per source
-- and site, per source and provider.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.source { name = 'ip-2', source_address = '192.0.2.2' }
posthorn.pool { name = 'all', entries = {
  { name = 'ip-1', weight = 2 },
  { name = 'ip-2' },
} }

posthorn.on('get_queue_config', function(domain, tenant, campaign)
  if tenant == 'trial' then
    return { max_message_rate = '100/s', max_age = '1d', priority = 'low' }
  end
end)

posthorn.on('get_egress_path_config', function(domain, source, site)
  if source == 'ip-2' then
    -- A young address: little at a time.
    return {
      connection_limit = 2,
      max_message_rate = '30/min',
      max_deliveries_per_connection = 10,
    }
  end
end)
