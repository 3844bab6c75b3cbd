/* Hosts and addresses of a destination (mx.h). Pure data; used by deliverd and the dns role. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/mx.h"

struct mx_list *
mx_list_new(enum mx_kind kind)
{
	struct mx_list *l = xcalloc(1, sizeof(*l));

	l->refs = 1;
	l->kind = kind;
	return l;
}

struct mx_list *
mx_list_ref(struct mx_list *l)
{
	l->refs++;
	return l;
}

void
mx_list_unref(struct mx_list **lp)
{
	struct mx_list *l = *lp;
	unsigned i;

	*lp = NULL;
	if (l == NULL || --l->refs > 0)
		return;
	for (i = 0; i < l->n_hosts; i++) {
		free(l->hosts[i].name);
		free(l->hosts[i].addrs);
		while (l->hosts[i].n_tlsa > 0)
			free(l->hosts[i].tlsa[--l->hosts[i].n_tlsa].data);
		free(l->hosts[i].tlsa);
		free(l->hosts[i].tlsa_base);
	}
	free(l->hosts);
	free(l);
}

int
mx_list_add(struct mx_list *l, const char *name, uint16_t pref)
{
	struct mx_host *h;
	unsigned i;

	for (i = 0; i < l->n_hosts; i++) {
		h = &l->hosts[i];
		if (strcasecmp(h->name, name) == 0) {
			if (pref < h->pref)
				h->pref = pref;
			return (int)i;
		}
	}
	if (l->n_hosts >= MX_HOSTS_MAX)
		return -1;
	l->hosts = xreallocarray(l->hosts, l->n_hosts + 1, sizeof(*l->hosts));
	h = &l->hosts[l->n_hosts];
	memset(h, 0, sizeof(*h));
	h->name = xstrdup(name);
	h->pref = pref;
	return (int)l->n_hosts++;
}

void
mx_host_add(struct mx_host *h, int family, const uint8_t *ip)
{
	size_t len = family == AF_INET ? 4 : 16;
	struct mx_addr *a;
	unsigned i;

	for (i = 0; i < h->n_addrs; i++)
		if (h->addrs[i].family == family && memcmp(h->addrs[i].ip, ip, len) == 0)
			return;
	if (h->n_addrs >= MX_ADDRS_MAX)
		return;
	h->addrs = xreallocarray(h->addrs, h->n_addrs + 1, sizeof(*h->addrs));
	a = &h->addrs[h->n_addrs++];
	memset(a, 0, sizeof(*a));
	a->family = family;
	memcpy(a->ip, ip, len);
}

void
mx_host_add_tlsa(struct mx_host *h, const struct mx_tlsa *t)
{
	struct mx_tlsa *copy;

	if (h->n_tlsa >= MX_TLSA_MAX || t->len > MX_TLSA_DATA_MAX)
		return;
	h->tlsa = xreallocarray(h->tlsa, h->n_tlsa + 1, sizeof(*h->tlsa));
	copy = &h->tlsa[h->n_tlsa++];
	*copy = *t;
	copy->data = (uint8_t *)xmemdup0(t->data, t->len);
}

static int
mx_host_cmp(const void *va, const void *vb)
{
	const struct mx_host *a = va, *b = vb;

	if (a->pref != b->pref)
		return a->pref < b->pref ? -1 : 1;
	return strcasecmp(a->name, b->name);
}

void
mx_list_sort(struct mx_list *l)
{
	if (l->n_hosts > 1)
		qsort(l->hosts, l->n_hosts, sizeof(*l->hosts), mx_host_cmp);
}

bool
mx_list_has_family(const struct mx_list *l, int family)
{
	unsigned i, j;

	for (i = 0; i < l->n_hosts; i++)
		for (j = 0; j < l->hosts[i].n_addrs; j++)
			if (l->hosts[i].addrs[j].family == family)
				return true;
	return false;
}

void
mx_addr_sockaddr(const struct mx_addr *a, uint16_t port, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	if (a->family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, a->ip, 4);
		*len = sizeof(*in);
	} else {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, a->ip, 16);
		*len = sizeof(*in6);
	}
}
