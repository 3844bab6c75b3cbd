/* Keys of TLS session tickets that several processes share, so that a client resumes its session with whichever of them
 * takes its connection. One process makes the table and alone can change it; the others map it to read. A key makes
 * tickets for one period and opens them for one more: then the past sessions cannot be opened any more, even by who
 * has the certificate's key (RFC 8446 section 2.3 on forward secrecy of resumption; RFC 5077 section 5.5). */
#ifndef BASE_TLS_TICKETS_H
#define BASE_TLS_TICKETS_H

#include <openssl/ssl.h>

#include <stdint.h>

#define TLS_TICKETS_EVERY_MS (4 * 3600000) /* the period */

struct tls_tickets;

/* A new table with a key; *fd_r: a descriptor for others, which can only be read from (close-on-exec). NULL and
 * errno. */
struct tls_tickets *tls_tickets_make(int *fd_r);
/* The table of another process; fd stays the caller's. NULL and errno. */
struct tls_tickets *tls_tickets_map(int fd);
void tls_tickets_free(struct tls_tickets **);
/* A new key from now on (maker only). */
void tls_tickets_rotate(struct tls_tickets *);
/* Server contexts use the table, which must outlive them; tickets are good for one period. */
void tls_tickets_use(SSL_CTX *, struct tls_tickets *);

#endif
