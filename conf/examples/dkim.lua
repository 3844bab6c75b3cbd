-- DKIM: mail of shops is signed by their own domains, and by ours. Keys are
-- below dkim_key_directory; `posthorn dkim keygen` makes them. Mail of clients
-- that we do not relay for is never signed by a definition.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.pool { name = 'main', entries = { { name = 'ip-1' } } }

-- Without a selector it is that of the file `current`, so that
-- `posthorn dkim keygen shop.example --rotate` can change it.
posthorn.dkim { domain = 'shop.example', subdomains = true }

-- Two algorithms: receivers that know no Ed25519 look at the other one.
posthorn.dkim {
  domain = 'bank.example',
  selector = 'rsa1',
  canonicalization = 'simple/simple',
  expiration = '14d',
}
posthorn.dkim {
  domain = 'bank.example',
  selector = 'ed1',
  headers = { 'From', 'To', 'Subject', 'Date', 'Message-ID' },
}

-- The sender's own, so that complaints can be told apart by it.
posthorn.dkim { domain = 'esp.example', selector = 'esp1', senders = '*' }

local promotions = posthorn.dkim.rsa_sha256_signer {
  domain = 'promo.example',
  selector = 'p1',
  over_sign = true,
}

kumo.on('smtp_server_message_received', function(msg, conn)
  if msg:get_meta('tenant') == 'promotional' then
    msg:dkim_sign(promotions)
  end
end)
