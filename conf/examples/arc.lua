-- ARC: mail that is passed on keeps what was known of it when it came. A chain
-- that is broken is refused; whoever gets the mail next finds our set on it.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.pool { name = 'main', entries = { { name = 'ip-1' } } }
posthorn.listener_domain { name = 'list.example', relay_to = true }

-- A key as for DKIM: `posthorn dkim keygen list.example --selector arc1`.
local sealer = posthorn.dkim.rsa_sha256_signer {
  domain = 'list.example',
  selector = 'arc1',
}

kumo.on('smtp_server_message_received', function(msg, conn)
  local arc = msg:arc_verify()
  if arc.result == 'fail' then
    kumo.reject(550, '5.7.29 ARC validation failure: ' .. arc.reason)
  elseif arc.result == 'temperror' then
    kumo.reject(451, '4.4.3 The ARC chain cannot be checked now')
  end
  -- What is changed is changed after the check and is covered by the seal.
  msg:prepend_header('List-Id', '<talk.list.example>')
  msg:arc_seal(sealer, 'mail.list.example')
end)
