-- Messages as policy changes them: headers, sender, recipients, queue, schedule.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.pool { name = 'main', entries = { { name = 'ip-1' } } }

kumo.on('smtp_server_message_received', function(msg, conn)
  -- Headers of the application are kept with the message, for its events, and
  -- do not leave.
  msg:import_x_headers { 'X-Order', 'X-Client-Id' }
  msg:remove_x_headers { 'X-Order', 'X-Client-Id' }

  msg:prepend_header('Feedback-ID', 'shop:' .. (msg:get_meta('x_order') or 'none'))
  msg:append_header('X-Report-Abuse', 'abuse@shop.example')

  if #msg:recipient_list() == 1 then
    local recipient = msg:recipient()
    if recipient.domain == 'old.example' then
      msg:set_recipient(recipient.user .. '@new.example')
    elseif recipient.domain == 'partner.example' then
      -- Through the gateway of the partner, whatever its MX records say.
      msg:set_meta('routing_domain', 'gateway.example')
    elseif recipient.domain == 'vip.example' then
      msg:set_meta('queue', 'fast:vip@vip.example')
    elseif recipient.domain == 'later.example' then
      msg:set_scheduling { first_attempt = 3600 }
    end
  end
end)
