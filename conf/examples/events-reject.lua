-- Who may talk to us, and about whom: rejections in the events of smtpd.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.pool { name = 'main', entries = { { name = 'ip-1' } } }
posthorn.listener_domain { name = 'shop.example', relay_to = true }

local mailboxes = { sales = true, support = true, postmaster = true }

kumo.on('smtp_server_ehlo', function(domain, conn)
  if domain:find('%.dynamic%.') then
    kumo.reject(550, '5.7.1 Use the mail server of your provider')
  end
end)

kumo.on('smtp_server_mail_from', function(address, conn)
  if address.domain == 'spam.example' then
    kumo.disconnect(554, 'Good bye')
  end
end)

kumo.on('smtp_server_rcpt_to', function(address, conn)
  if address.domain == 'shop.example' and not mailboxes[address.user] then
    kumo.reject(550, '5.1.1 There is no ' .. address .. ' here')
  end
end)
