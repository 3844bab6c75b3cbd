-- How connections are made to a destination: how many, how secret, to
-- which of its hosts, and what happens when one breaks.
posthorn.source { name = 'ip-1', source_address = '192.0.2.11' }
posthorn.source { name = 'ip-2', source_address = '192.0.2.12' }
posthorn.source { name = 'ip-3', source_address = '192.0.2.13' }
posthorn.pool { name = 'one', entries = { { name = 'ip-1' } } }
posthorn.pool {
  name = 'both', entries = { { name = 'ip-2' }, { name = 'ip-3' } },
}

-- Two sites of one provider: each source has its limit over both, and
-- the two sources have one together.
local big = {
  provider_name = 'big',
  provider_connection_limit = 3,
  provider_total_connection_limit = 4,
}

local paths = {
  ['large.example'] = {
    connection_limit = 8,
    max_deliveries_per_connection = 20,
  },
  -- It answers 421 long before that.
  ['strict.example'] = { connection_limit = 16 },
  -- Never in the clear, whatever the certificate.
  ['secret.example'] = { enable_tls = 'RequiredInsecure' },
  ['insecure.example'] = { enable_tls = 'RequiredInsecure' },
  ['clear.example'] = { enable_tls = 'Disabled' },
  -- The other hosts take it; if there are none, it waits.
  ['skip.example'] = { skip_hosts = { '192.0.2.41' } },
  ['skip-all.example'] = { skip_hosts = { '192.0.2.40/30' } },
  -- It bounces.
  ['prohibited.example'] = { prohibited_hosts = { '192.0.2.40/30' } },
  ['six.example'] = { ip_lookup_strategy = 'Ipv6Only' },
  ['four.example'] = { ip_lookup_strategy = 'Ipv4Only' },
  ['ready.example'] = { connection_limit = 1, max_ready = 5 },
  ['next.example'] = { try_next_host_on_transport_error = true },
  ['same.example'] = { reconnect_strategy = 'ReconnectSameHost' },
  ['big.example'] = big,
  ['bigmail.example'] = big,
}

kumo.on('get_egress_pool', function(domain, tenant)
  return tenant == 'both' and 'both' or 'one'
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  return paths[domain]
end)
