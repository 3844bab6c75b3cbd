/* The auth role of smtpd. */
#ifndef SMTPD_AUTHD_H
#define SMTPD_AUTHD_H

#include "base/loop.h"
#include "mail/params.h"

#include "smtpd/passwd.h"

/* Never returns before the role is told to stop; the exit status. */
int authd_main(const struct params *, unsigned instance);

/* The role without its process: answers the worker at the other end of the socket. Takes over the file. */
struct authd;
struct authd *authd_new(struct loop *, struct passwd_file *);
void authd_set_worker(struct authd *, int fd); /* takes over the descriptor */
void authd_free(struct authd **);

/* What decides: a checker with its cache of verified credentials. */
struct checker;
struct checker *checker_new(struct passwd_file *); /* takes over the file */
void checker_free(struct checker **);
/* Answer from memory: the entry, or NULL if this pair was not verified lately. Costs one HMAC. */
const struct passwd_entry *checker_cached(struct checker *, const char *name, const char *password, int64_t now);
/* Full check. An unknown name costs as much as a known one. Slow on purpose (crypt(3)). */
const struct passwd_entry *checker_verify(struct checker *, const char *name, const char *password, int64_t now);
const struct passwd_entry *checker_lookup(const struct checker *, const char *name);

#endif
