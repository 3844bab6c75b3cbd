/* System users of this daemon's roles. */
#ifndef SMTPD_USERS_H
#define SMTPD_USERS_H

#define SMTPD_USER "posthorn-smtpd"
#define SIGN_USER "posthorn-sign" /* private keys of DKIM are its */

#endif
