-- What is done after a failure, where the bounce rules do not know it all: one
-- customer's mail is tried again after every block, a provider that answers
-- "unknown user" while it is moving suppresses nobody, and a slow-down of one
-- provider is obeyed at once.
kumo.on('bounce_classified', function(r)
  if r.tenant == 'patient' and r.kind == 'block' then
    return 'retry in=2h'
  end
  if r.provider == 'moving' and r.cause == 'rcpt_unknown' then
    return 'retry in=6h alert of=provider after=100/1h for=6h'
  end
  if r.provider == 'strict' and r.cause == 'throttle_volume' then
    return 'retry slow of=provider max_message_rate=10/min for=1h'
  end
end)
