/* The parts of the sendmail(1) front end. */
#ifndef POSTHORN_SENDMAIL_H
#define POSTHORN_SENDMAIL_H

#include <stdbool.h>
#include <stdio.h>

#include "base/wire.h"
#include "mail/params.h"

#include "addrlist.h"

/* sysexits.h, as sendmail's callers know them: EX_OK 0, EX_USAGE 64, EX_DATAERR 65, EX_NOUSER 67, EX_UNAVAILABLE 69,
 * EX_SOFTWARE 70, EX_OSERR 71, EX_IOERR 74, EX_TEMPFAIL 75. */

struct sendmail {
	const char *config_dir;
	char *sender;         /* envelope; "" is the null sender; NULL: the user at myhostname */
	const char *full_name;/* -F */
	const char *notify;   /* -N: "success,failure" or "never" */
	const char *ret;      /* -R: "full" or "hdrs" */
	const char *envid;    /* -V */
	bool take_recipients; /* -t */
	bool ignore_dots;     /* -i */
	struct addrlist rcpts;
};

/* One sentence on standard error; returns status. */
int sendmail_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Reads the message, at most max bytes (0: no limit), until the end or, unless ignore_dots, a line with only a dot.
 * Line ends become CRLF. An exit status. */
int sendmail_read(FILE *, bool ignore_dots, int64_t max, struct wbuf *out);
/* Completes the header block (From, Date, Message-ID), removes Bcc, and with -t adds the recipients that it names. An
 * exit status. */
int sendmail_headers(struct sendmail *, const char *hostname, int64_t now, const struct wbuf *in, struct wbuf *out);

/* A connection to the first address that smtpd serves for local mail; -1 and an exit status through *status_r (said
 * why). */
int sendmail_connect(const struct params *, int *status_r);
/* Sends by SMTP. An exit status. */
int sendmail_submit(const struct sendmail *, const struct params *, const struct wbuf *message);
/* -bs: standard input and output are an SMTP session with smtpd. An exit status. */
int sendmail_relay(const struct params *);

#endif
