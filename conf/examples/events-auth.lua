-- Users that policy knows, each bound to a tenant; the tenant decides the pool.
posthorn.source { name = 'bulk-1', source_address = '192.0.2.2' }
posthorn.source { name = 'mail-1', source_address = '192.0.2.3' }
posthorn.pool { name = 'bulk', entries = { { name = 'bulk-1' } } }
posthorn.pool { name = 'mail', entries = { { name = 'mail-1' } } }

local users = {
  newsletter = { password = 'wonderland', tenant = 'promotional' },
  shop = { password = 'looking-glass', tenant = 'transactional' },
}

kumo.on('smtp_server_auth_plain', function(authz, authc, password, conn)
  local user = users[authc]
  if user == nil then
    return nil -- somebody of the passwd file, perhaps
  end
  conn:set_meta('tenant', user.tenant)
  return password == user.password
end)

-- What the application says of itself becomes the campaign.
kumo.on('smtp_server_message_received', function(msg, conn)
  local mailing = msg:get_first_named_header_value('X-Mailing')
  if mailing then
    msg:set_meta('campaign', mailing)
  end
  msg:set_meta('login', conn:get_meta('authn_id'))
end)

kumo.on('get_egress_pool', function(domain, tenant)
  return tenant == 'promotional' and 'bulk' or 'mail'
end)
