/* A small blocking client of three sockets that speak the same frames and the same three messages (QL_ADMIN,
 * QL_ADMIN_DATA, QL_ADMIN_END of mail/queue_link.h): queued's, which wants a HELLO first, the supervisor's and
 * bouncerd's, which do not. */
#ifndef POSTHORN_ADM_CLIENT_H
#define POSTHORN_ADM_CLIENT_H

#include <jansson.h>

#include "mail/queue_link.h"

enum adm_peer { ADM_QUEUED, ADM_SUPERVISOR, ADM_BOUNCERD };

#define ADM_TIMEOUT 10000 /* ms of silence */

struct adm_client;

/* One JSON object of the answer; valid during the call. text is the object as it came. Return false to stop reading. */
typedef bool adm_row_fn(json_t *row, const char *text, void *arg);

/* NULL and a malloced sentence, "posthorn is not running (...)". *is_absent_r (may be NULL): nobody listens there, in
 * contrast to not being allowed or a silent peer. */
struct adm_client *adm_connect(const char *run_directory, enum adm_peer, bool *is_absent_r, char **err_r)
    __attribute__((warn_unused_result));
/* Asks, hands each row to fn (may be NULL) and returns the peer's status: 0 done, 1 refused, with its sentence in
 * *sentence_r (malloced, may be ""); -1: the link broke, sentence says how. timeout in ms of silence. */
int adm_ask(struct adm_client *, const struct ql_admin *, int timeout, adm_row_fn *fn, void *arg, char **sentence_r)
    __attribute__((warn_unused_result));
/* The same with a frame of another type than QL_ADMIN. */
int adm_ask_frame(struct adm_client *, uint16_t type, const struct wbuf *body, int timeout, adm_row_fn *fn, void *arg,
    char **sentence_r) __attribute__((warn_unused_result));
void adm_disconnect(struct adm_client **);

/* A request being put together: keys are literals, values are copied. */
void adm_request_init(struct ql_admin *, const char *verb);
void adm_request_add(struct ql_admin *, const char *key, const char *value);

#endif
