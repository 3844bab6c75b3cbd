-- Posthorn's policy, a Lua program: which addresses mail leaves from. posthorn-policy(5) describes it.
-- Try a change with: posthorn check. Make it take effect with: posthorn reload.

-- To begin with, everything leaves from whatever address the kernel chooses.
posthorn.source { name = 'default', source_address = 'unspecified' }
posthorn.pool { name = 'default', entries = { { name = 'default' } } }

-- With addresses of its own, each kind of mail has a reputation of its own: a newsletter that is not liked does not delay
-- password resets. Replace the two lines above by your addresses, each with a name that resolves to it and back:
--
-- posthorn.source { name = 'ip-1', source_address = '192.0.2.1', ehlo_domain = 'm1.example.com' }
-- posthorn.source { name = 'ip-2', source_address = '192.0.2.2', ehlo_domain = 'm2.example.com' }
-- posthorn.source { name = 'ip-3', source_address = '192.0.2.3', ehlo_domain = 'm3.example.com' }
--
-- posthorn.pool { name = 'pool-transactional', entries = { { name = 'ip-1' } } }
-- posthorn.pool { name = 'pool-promo', entries = { { name = 'ip-2', weight = 2 }, { name = 'ip-3' } } }
--
-- The tenant is what the application put into the header X-Tenant (or what passwd says of the user who sent it).
--
-- posthorn.on('get_egress_pool', function(domain, tenant, campaign)
--   if tenant == 'promotional' then
--     return 'pool-promo'
--   end
--   return 'pool-transactional'
-- end)

-- How long to try, by kind of mail.
--
-- posthorn.on('get_queue_config', function(domain, tenant, campaign)
--   if tenant == 'transactional' then
--     return { retry_interval = '2m', max_age = '4h' }
--   end
-- end)

-- How gently to treat a destination.
--
-- posthorn.on('get_egress_path_config', function(domain, source, site)
--   if domain == 'example.org' then
--     return { connection_limit = 3, max_deliveries_per_connection = 20 }
--   end
-- end)
