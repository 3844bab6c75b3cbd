/* Paths in an explanation (explain_path.h). */
#include <stdlib.h>

#include "base/xalloc.h"
#include "deliverd/explain_path.h"
#include "deliverd/path.h"

void
explain_provider(const struct site *site, const char *domain, struct json *json)
{
	(void)site;
	(void)domain;
	json_str(json, "provider", NULL);
}

void
explain_source_row(struct site *site, struct source *s, const struct explain_who *who, struct json *json)
{
	struct path *p = path_get(site, s, who->domain);

	json_obj(json, NULL);
	json_str(json, "kind", "source");
	json_str(json, "name", s->name);
	json_str(json, "address", s->address != NULL ? s->address : "unspecified");
	json_int(json, "weight", s->weight);
	json_int(json, "connections", p->n_conns);
	json_int(json, "ready", p->n_ready);
	json_obj_end(json);
}
