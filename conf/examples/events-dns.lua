-- Questions to name servers: other sessions go on while a handler waits for the answer.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.pool { name = 'main', entries = { { name = 'ip-1' } } }

kumo.on('smtp_server_ehlo', function(domain, conn)
  local ip = conn:get_meta('received_from')
  local answer, reason = kumo.dns.rbl_lookup(ip, 'bl.example')
  if answer then
    kumo.reject(550, '5.7.1 ' .. (reason or 'Your address is listed'))
  end
  local names = kumo.dns.lookup_ptr(ip)
  conn:set_meta('ptr', names and names[1] or 'none')
end)

kumo.on('smtp_server_mail_from', function(address, conn)
  if address.domain == '' then
    return -- a bounce
  end
  local mx, err = kumo.dns.lookup_mx(address.domain)
  if mx == nil then
    kumo.reject(450, '4.1.8 Your domain: ' .. err)
  end
  if #mx.hosts == 0 then
    kumo.reject(550, '5.7.27 Your domain takes no mail')
  end
  conn:set_meta('sender_mx', mx.hosts[1])
end)

kumo.on('smtp_server_message_received', function(msg, conn)
  msg:set_meta('ptr', conn:get_meta('ptr'))
  msg:set_meta('sender_mx', conn:get_meta('sender_mx'))
  for _, txt in ipairs(kumo.dns.lookup_txt(msg:sender().domain) or {}) do
    if txt:find('^v=spf1 ') then
      msg:set_meta('spf', txt)
    end
  end
end)
