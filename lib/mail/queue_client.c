/* The frames with which queued greets (queue_client.h). queued is our own daemon; what it says is checked all the
 * same. */
#include <stdlib.h>

#include "base/ipc.h"

#include "mail/queue_client.h"

#define HOUR_MAX 64 /* the name of the log's file */

bool
queue_client_welcome(struct ipc *ipc, struct ipc_msg *m, struct eventlog *events, struct token_signer *token)
{
	struct ql_welcome w;

	if (ql_welcome_decode(&m->body, &w) == -1 || w.proto != QL_PROTO) {
		ipc_reject(ipc, "malformed or unknown WELCOME");
		return false;
	}
	token_signer_set(token, &w.token);
	eventlog_set_node(events, w.nodeid);
	return true;
}

void
queue_client_logfd(struct ipc *ipc, struct ipc_msg *m, struct eventlog *events)
{
	char *hour;

	if (ql_str_decode(&m->body, HOUR_MAX, &hour) == -1) {
		ipc_reject(ipc, "malformed LOGFD");
		return;
	}
	free(hour);
	eventlog_set_fd(events, m->fd);
	m->fd = -1;
}
