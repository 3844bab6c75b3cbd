/* A site: the set of hosts that take mail of one or more domains. Domains with the same set share ready queues and
 * connections. Its name is a pattern of the host names, as in `(mx1|mx2).example.net`; the table's key is the exact
 * set. */
#ifndef DELIVERD_SITE_H
#define DELIVERD_SITE_H

#include "deliverd/job.h"
#include "mail/mx.h"

struct site_share { /* smooth weighted round robin over the pool's sources */
	struct source *source;
	int64_t credit;
	uint64_t refused; /* in this choice */
};

struct site {
	RB_ENTRY(site) by_key;
	struct net *net;
	char *key;
	char *name;
	unsigned refs; /* dests and paths */
	struct mx_list *mx; /* latest */
	bool is_public; /* receivers whom everybody can reach: they judge by DMARC */
	struct site_share *shares;
	unsigned n_shares;
	uint64_t choice; /* counts */
	unsigned generation; /* of shares */
	struct msgid last_msg; /* recipients of one message keep to one source, so that they can share a transaction */
	struct source *last_source;
	unsigned last_left; /* so many more of them */
};
RB_PROTOTYPE(site_tree, site, by_key, site_cmp)

#define SITE_NAME_MAX 1024
/* Name of a host set. */
void site_name_make(const struct mx_list *, char *out, size_t size);
/* The site of these hosts, made if it is new, with a reference for the caller; mx (not taken over) becomes its
 * latest list. name: what it is called, and what it is known by if it is no host set (literals, relayhost);
 * NULL: from the hosts. */
struct site *site_get(struct net *, struct mx_list *mx, const char *name);
struct site *site_ref(struct site *);
void site_unref(struct site **);
/* Gives the item a path: chooses a source, or finishes the item if there is none to choose. domain: for the path's
 * configuration. */
void site_add(struct site *, struct item *);

#endif
