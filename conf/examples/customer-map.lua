-- Customers in a file that another program writes (it renames a new one over
-- the old): which pool, and who may not send.
--   tenant,pool,state
--   shop,dedicated,open
--   gone,shared,closed
posthorn.source { name = 'ip-1', source_address = '192.0.2.31' }
posthorn.source { name = 'ip-2', source_address = '192.0.2.32' }
posthorn.pool { name = 'shared', entries = { { name = 'ip-1' } } }
posthorn.pool { name = 'dedicated', entries = { { name = 'ip-2' } } }

local customers = posthorn.map { file = 'maps/customers.csv', key = 'tenant' }

kumo.on('smtp_server_message_received', function(msg)
  local customer = customers[msg:get_meta('tenant')]
  if customer and customer.state == 'closed' then
    kumo.reject(550, '5.7.1 This account is closed')
  end
end)

kumo.on('get_egress_pool', function(domain, tenant)
  local customer = customers[tenant]
  return customer and customer.pool or 'shared'
end)
