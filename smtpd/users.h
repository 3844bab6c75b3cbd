/* System users of this daemon's roles. */
#ifndef SMTPD_USERS_H
#define SMTPD_USERS_H

#define SMTPD_USER "posthorn-smtpd"
#define SIGN_USER "posthorn-sign" /* private keys of DKIM are its; those of TLS are held under it */

/* The places of helper roles among a worker's others (base/roles.h). */
enum { PLACE_DNS, PLACE_SIGN, PLACE_CHECK, PLACE_KEY };

#endif
