-- Other ways for mail that waits: by the reply that it got, and by order of
-- an operator.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.pool { name = 'main', entries = { { name = 'ip-1' } } }
posthorn.source { name = 'ip-2', source_address = '192.0.2.2' }
posthorn.pool { name = 'slow', entries = { { name = 'ip-2' } } }

kumo.on('get_egress_pool', function(domain, tenant, campaign)
  return campaign == 'slow' and 'slow' or 'main'
end)

-- Asked after each temporary failure.
kumo.on('requeue_message', function(msg, response)
  if response:find('IP reputation', 1, true) then
    -- To the other addresses, and to a queue of its own.
    msg:set_meta('campaign', 'slow')
  elseif msg:num_attempts() == 2 then
    -- Through the relay of the provider.
    msg:set_meta('routing_domain', 'relay.example')
  elseif response:find('mailbox full', 1, true) and msg:num_attempts() >= 3 then
    kumo.reject(550, '5.2.2 The mailbox was full three times')
  end
end)

-- posthorn queue rebind --trigger-rebind-event --set reason=...
kumo.on('rebind_message', function(msg, data)
  msg:set_meta('campaign', 'slow')
  msg:prepend_header('X-Rebound', data.reason or 'by order')
end)
