-- Two pools with addresses of their own. A tenant's mail leaves from the
-- addresses of its pool and from no others, also while the table below is
-- edited and `posthorn reload` puts it in force: what is being sent ends as
-- it began, the rest is routed anew.
posthorn.source { name = 'a-1', source_address = '192.0.2.11' }
posthorn.source { name = 'a-2', source_address = '192.0.2.12' }
posthorn.source { name = 'b-1', source_address = '192.0.2.21' }
posthorn.source { name = 'b-2', source_address = '192.0.2.22' }
posthorn.pool {
  name = 'a', entries = { { name = 'a-1' }, { name = 'a-2' } },
}
posthorn.pool {
  name = 'b', entries = { { name = 'b-1' }, { name = 'b-2' } },
}

local pools = { news = 'a', shop = 'b' }

kumo.on('get_egress_pool', function(domain, tenant)
  return pools[tenant] or 'b'
end)
