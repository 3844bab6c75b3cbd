-- Two addresses that share all mail evenly. While one of them may not be used
-- for a site, the other carries on.
posthorn.source { name = 'ip-1', source_address = '192.0.2.11' }
posthorn.source { name = 'ip-2', source_address = '192.0.2.12' }
posthorn.pool {
  name = 'news',
  entries = { { name = 'ip-1' }, { name = 'ip-2' } },
}

posthorn.on('get_egress_pool', function()
  return 'news'
end)
