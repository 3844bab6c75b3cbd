/* posthorn token: which message and which recipient a token of this node names (mail/token.h), for who receives it
 * back: in the address that List-Unsubscribe named, in a bounce, in a complaint. queued has the keys. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mail/token.h"

#include "adm_client.h"
#include "admin.h"

struct answer {
	struct admin *adm;
	bool is_there;
};

static bool
on_row(json_t *row, const char *text, void *arg)
{
	const char *recipient = json_string_value(json_object_get(row, "recipient"));
	const char *id = json_string_value(json_object_get(row, "id"));
	json_int_t n = json_integer_value(json_object_get(row, "recipient_index"));
	struct answer *a = arg;

	a->is_there = true;
	if (a->adm->json) {
		puts(text);
		return true;
	}
	printf("message   %s\n", id != NULL ? id : "?");
	if (n < 0)
		puts("recipient one of several");
	else if (recipient != NULL)
		printf("recipient %s\n", recipient);
	else
		printf("recipient number %lld, see posthorn events --id %s\n", (long long)n + 1,
		    id != NULL ? id : "?");
	return true;
}

static int
token_ask(struct admin *adm, const char *token)
{
	char *dir = adm_run_directory(adm), *err = NULL;
	struct answer a = { adm, false };
	struct adm_client *c = NULL;
	struct ql_admin req;
	int rv = -1;

	adm_request_init(&req, "token");
	adm_request_add(&req, "token", token);
	if (dir != NULL && (c = adm_connect(dir, ADM_QUEUED, NULL, &err)) != NULL)
		rv = adm_ask(c, &req, ADM_TIMEOUT, on_row, &a, &err);
	adm_disconnect(&c);
	if (rv != 0 && dir != NULL)
		adm_fail("%s", err != NULL && *err != '\0' ? err : "the answer is incomplete");
	ql_admin_clear(&req);
	free(err);
	free(dir);
	return rv == 0 && a.is_there ? ADM_OK : ADM_FAILED;
}

int
cmd_token(struct admin *adm, int argc, char **argv)
{
	if (argc != 2 || argv[1][0] == '-')
		return adm_usage("token", NULL);
	if (strlen(argv[1]) != TOKEN_TEXT - 1) {
		adm_fail("a token has %d characters", TOKEN_TEXT - 1);
		return ADM_FAILED;
	}
	return token_ask(adm, argv[1]);
}
