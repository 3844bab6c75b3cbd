/* The suppression list as its readers see it: smtpd at RCPT, queued before each attempt, the admin command. bouncerd
 * alone writes it (suppress_store.h).
 *
 * The file is LMDB's, and what reads it is not LMDB. A reader of LMDB takes a slot in lock.mdb, which it therefore must
 * be able to write; whoever can write that file can dead-lock the writer, make it reuse pages that others are reading,
 * or pin old pages until the disk is full; and LMDB follows whatever a damaged page says, out of its map. smtpd reads
 * strangers' bytes all its life and queued must not fall over a bad sector. So: readers are given data.mdb, read-only,
 * opened while they are still privileged (the file is of bouncerd's user, mode 0600, in a directory that neither may
 * enter), they map it, never lock, never write, open nothing afterwards and need no system call for a look-up but now
 * and then fstat. Every number read from the map is checked before it is followed; what makes no sense is said, not
 * followed. What a hostile reader can do to others: nothing. What a hostile writer can do to readers: wrong answers,
 * and SIGBUS by cutting the file short.
 *
 * Without a slot nothing keeps the writer from reusing a page under a reader. It reuses pages of a snapshot only two
 * commits after it, so a look-up whose snapshot is still the newest when it ends has read one state; else it is done
 * again. Commits wait for the disk, a look-up takes a microsecond. (No MDB_WRITEMAP, no MDB_NOSYNC in the writer: this
 * rests on it.)
 *
 * The map has a fixed, large size, so that nobody is ever to be told that the file has grown. */
#ifndef MAIL_SUPPRESS_H
#define MAIL_SUPPRESS_H

#include "mail/params.h"
#include "mail/suppress_row.h"

#define SUPPRESS_MAP_SIZE (UINT64_C(64) << 30) /* address space, not memory: 500 million rows */
#define SUPPRESS_USER "posthorn-bouncerd"
#define SUPPRESS_DATA "data.mdb"

enum suppress_answer { SUPPRESS_NOT, SUPPRESS_IS, SUPPRESS_UNREADABLE };

struct suppress;

/* Never NULL: a list that cannot be read answers SUPPRESS_UNREADABLE, with the reason, which is logged here too. A list
 * that is not there yet is made, empty, if this process may. */
struct suppress *suppress_open(const char *queue_directory);
void suppress_close(struct suppress **);
/* NULL, or why it cannot be read. */
const char *suppress_trouble(const struct suppress *);
/* Whether mail to that recipient, of that tenant (NULL) and sender's domain (NULL), is not wanted at time now. The row
 * that says so is decoded into *row if that is not NULL. SUPPRESS_UNREADABLE: *why_r (may be NULL) is a sentence that
 * lives as long as the list. An address that cannot be on the list is not. */
enum suppress_answer suppress_look_up(struct suppress *, const char *address, const char *tenant,
    const char *sender_domain, int64_t now, struct suppress_row *row, const char **why_r)
    __attribute__((warn_unused_result));

/* Makes an empty list where there is none: the directory appears with all that belongs into it, or not at all. 0; -1
 * and a malloced sentence. */
int suppress_make(const char *queue_directory, char **err_r) __attribute__((warn_unused_result));

#endif
