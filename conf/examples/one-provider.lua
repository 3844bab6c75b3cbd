-- One pool for everything; how gently to treat each mailbox provider stands
-- in shaping.lua.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.pool { name = 'all', entries = { { name = 'ip-1' } } }
