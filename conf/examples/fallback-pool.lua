-- A pool whose addresses are all gone (an interface is down, a network lost)
-- hands its mail to another one meanwhile. Without `fallback` its mail waits,
-- which is right where another address must not be seen.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.source { name = 'ip-2', source_address = '192.0.2.2' }
posthorn.source { name = 'ip-3', source_address = '192.0.2.3' }
posthorn.pool { name = 'main', entries = { { name = 'ip-1' } }, fallback = 'spare' }
posthorn.pool { name = 'spare', entries = { { name = 'ip-2' } } }
posthorn.pool { name = 'strict', entries = { { name = 'ip-3' } } }

posthorn.on('get_egress_pool', function(domain, tenant)
  return tenant == 'strict' and 'strict' or 'main'
end)
