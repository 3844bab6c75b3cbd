-- Warming up addresses: they are chosen for so many messages a day; what is
-- more goes by the addresses that are known. The number is one for both new
-- addresses, although they are in two pools.
posthorn.source { name = 'new-1', source_address = '192.0.2.21' }
posthorn.source { name = 'new-2', source_address = '192.0.2.23' }
posthorn.source { name = 'known', source_address = '192.0.2.22' }
posthorn.pool { name = 'news', entries = {
  { name = 'new-1', weight = 5 },
  { name = 'known' },
} }
posthorn.pool { name = 'only-new', entries = { { name = 'new-2' } } }

kumo.on('get_egress_pool', function(domain, tenant)
  return tenant == 'impatient' and 'only-new' or 'news'
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  if source == 'new-1' or source == 'new-2' then
    -- Over all destinations.
    return { additional_source_selection_rates = { ['new-addresses'] = '12/d' } }
  end
end)
