-- When to try again: patiently for newsletters, soon and not for long for
-- what somebody waits for.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.pool { name = 'all', entries = { { name = 'ip-1' } } }

posthorn.on('get_queue_config', function(domain, tenant, campaign)
  if tenant == 'transactional' then
    -- A list: after 5, 10 and 20 seconds, then every 30 seconds; after
    -- 10 minutes it is of no use any more.
    return {
      retry_intervals = { '5s', '10s', '20s', '30s' },
      max_age = '10 min', priority = 'high',
    }
  end
  -- Back-off: 1 minute, 1.5 minutes, 2.25 minutes, up to 4 hours; a full
  -- mailbox is asked once a day.
  return {
    retry_interval = '1 min', retry_factor = 1.5, max_retry_interval = '4h',
    max_age = '5d',
    retry_by_class = { QuotaIssues = { retry_interval = '1d', retry_factor = 1 } },
  }
end)
