-- One-click unsubscription (RFC 8058) for mail that has none: for promotions an
-- address of their own, for all others that of the shop.
posthorn.source { name = 'ip-1', source_address = '192.0.2.1' }
posthorn.pool { name = 'main', entries = { { name = 'ip-1' } } }

-- Large providers count it only if it is signed.
posthorn.dkim { domain = 'shop.example', selector = 's1' }

posthorn.list_unsubscribe {
  tenant = 'promotional',
  url = 'https://u.shop.example/end/{token}',
  mailto = 'unsubscribe+{token}@shop.example?subject=unsubscribe',
  complete = true,
}
posthorn.list_unsubscribe { tenant = '*', url = 'https://shop.example/u?t={token}' }
