-- What a tenant, one of its campaigns, and mail for one domain may send,
-- whatever their destinations would take.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.pool { name = 'all', entries = { { name = 'ip-1' } } }

posthorn.on('get_queue_config', function(domain, tenant, campaign)
  if tenant == 'trial' then
    -- Over all domains together, at that pace, never more than a second's worth at once.
    return { tenant_max_message_rate = '600/min', campaign_max_message_rate = '120/min' }
  end
  if domain == 'small.example' then
    return { max_message_rate = '60/min' }
  end
end)
